/** Losses of relations, pictures, quantiles and attention against their formulas in float64, and their gradients against central differences. */
import { describe, expect, test } from 'vitest';
import { float32Tensor, float32Values, GraphWriter, NameAuthority, type Tensor, type Value } from '../../../../services/engine/ir/index.js';
import { attentionMaps, valueRelations } from '../../../../services/engine/training/losses/attention-losses.js';
import { type Feature, relationalAngles } from '../../../../services/engine/training/losses/feature-losses.js';
import { frequencyError, spatialAffinity } from '../../../../services/engine/training/losses/image-losses.js';
import { relationDistillation } from '../../../../services/engine/training/losses/score-relations.js';
import { pinball } from '../../../../services/engine/training/losses/value-losses.js';
import { ModelBuilder, noise, outputsOf } from '../quantization/method-fixtures.js';
import { average, checkLoss, dot, flat, huberOf, kl, lossModel, type Matrix, norm, pairs, rowsOf, softmax, sum } from './loss-fixtures.js';

type WriteHint = (write: GraphWriter, student: Feature, teacher: Feature) => Value;

/** The loss between values of these sizes. */
async function checkHint(write: WriteHint, [student, teacher]: readonly [Tensor, Tensor], expected: number): Promise<void> {
  const feeds = { s: student, t: teacher };
  const model = lossModel((w, s, t) => write(w, { value: s, dims: student.dims }, { value: t, dims: teacher.dims }), feeds);
  await checkLoss(model, feeds, expected);
}

const columns = (matrix: Matrix): Matrix => (matrix[0] ?? []).map((_, at) => matrix.map((row) => row[at] ?? 0));
const minus = (a: readonly number[], b: readonly number[]): number[] => a.map((value, at) => value - (b[at] ?? 0));

/** Matrices [rows, width], one for each index before those axes. */
function matrices(tensor: Tensor): Matrix[] {
  const [rows = 1, width = 1] = tensor.dims.slice(-2);
  const values = [...float32Values(tensor)];
  return Array.from({ length: values.length / (rows * width) }, (_, at) =>
    Array.from({ length: rows }, (_, row) => values.slice((at * rows + row) * width, (at * rows + row + 1) * width)),
  );
}

describe('relations', () => {
  test('DIST: 1 - correlation of the classes of a sample and of the samples of a class', async () => {
    const pair = [noise([6, 4], 1, 2), noise([6, 4], 2, 2)] as const;
    const probabilities = (tensor: Tensor): Matrix => rowsOf(tensor).map((row) => softmax(row.map((value) => value / 2)));
    const correlation = (a: readonly number[], b: readonly number[]): number => {
      const [x, y] = [a, b].map((each) => each.map((value) => value - average(each))) as [number[], number[]];
      return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
    };
    const unlike = (a: Matrix, b: Matrix): number => average(a.map((row, at) => 1 - correlation(row, b[at] ?? [])));
    const [s, t] = pair.map(probabilities) as [Matrix, Matrix];
    await checkHint(
      (w, a, b) => relationDistillation(w, { logits: a.value, dims: a.dims }, b.value, { temperature: 2, inter: 1, intra: 3 }),
      pair,
      4 * (unlike(s, t) + 3 * unlike(columns(s), columns(t))),
    );
  });

  test('DIST is blind to scale and shift of the probabilities, which KD is not: a student that ranks as its teacher loses nothing', async () => {
    const model = lossModel((w, s, t) => relationDistillation(w, { logits: s, dims: [2, 3] }, t, { temperature: 1, inter: 1, intra: 0 }), {
      s: noise([2, 3], 1),
      t: noise([2, 3], 1),
    });
    const logits = (rows: Matrix): Tensor => float32Tensor([2, 3], flat(rows).map(Math.log));
    const teacher = [
      [0.6, 0.3, 0.1],
      [0.2, 0.2, 0.6],
    ];
    const flatter = teacher.map((row) => row.map((value) => (value + 1 / 3) / 2));
    const [loss] = await outputsOf(model, { s: logits(flatter), t: logits(teacher) });
    expect(loss?.[0]).toBeCloseTo(0, 5);
  });

  test('angles of triplets, whatever the widths', async () => {
    const pair = [noise([5, 3, 2], 3), noise([5, 8], 4)] as const;
    const angles = (tensor: Tensor): number[] => {
      const rows = rowsOf(tensor);
      const unit = (a: number[], b: number[]): number[] => minus(a, b).map((value) => (a === b ? 0 : value / norm(minus(a, b))));
      return rows.flatMap((j) => rows.flatMap((i) => rows.map((k) => dot(unit(i, j), unit(k, j)))));
    };
    const [s, t] = pair.map(angles) as [number[], number[]];
    await checkHint(relationalAngles, pair, average(s.map((angle, at) => huberOf(angle - (t[at] ?? 0)))));
  });

  test('what would not fit in memory is refused before it is written', () => {
    const builder = new ModelBuilder({ opset: 18 });
    const write = new GraphWriter(builder.model, new NameAuthority(builder.model));
    const feature = { value: builder.input('x', [512, 4]), dims: [512, 4] };
    expect(() => relationalAngles(write, feature, feature)).toThrow('smaller "batch_size"');
    const picture = { value: builder.input('y', [4, 3, 96, 96]), dims: [4, 3, 96, 96] };
    expect(() => spatialAffinity(write, picture, picture)).toThrow("'affinity' would compare 3.4e+8 numbers");
  });
});

describe('pictures', () => {
  test.each([
    [4, 6],
    [5, 3],
    [3, 1],
  ])('frequencies of %i x %i pixels: every one of the full spectrum counts once', async (height, width) => {
    const pair = [noise([2, 2, height, width], 5), noise([2, 2, height, width], 6)] as const;
    const [s, t] = pair.map(matrices) as [Matrix[], Matrix[]];
    const errors = s.map((picture, at) => picture.map((row, y) => minus(row, t[at]?.[y] ?? [])));
    const part = (picture: Matrix, u: number, v: number, of: (angle: number) => number): number =>
      sum(picture.flatMap((row, y) => row.map((value, x) => value * of(2 * Math.PI * ((u * y) / height + (v * x) / width)))));
    const frequencies = Array.from({ length: height * width }, (_, at) => [Math.floor(at / width), at % width] as const);
    const sizes = errors.flatMap((picture) =>
      frequencies.map(([u, v]) => Math.abs(part(picture, u, v, Math.cos)) + Math.abs(part(picture, u, v, Math.sin))),
    );
    await checkHint((w, a, b) => frequencyError(w, a, b.value), pair, average(sizes) / Math.sqrt(height * width));
  });

  test('affinity of positions, whatever the widths', async () => {
    const pair = [noise([2, 3, 2, 3], 7), noise([2, 5, 2, 3], 8)] as const;
    const affinity = (tensor: Tensor): Matrix =>
      rowsOf(tensor).flatMap((row) => {
        const channels = row.length / 6;
        const places = Array.from({ length: 6 }, (_, place) => Array.from({ length: channels }, (_, c) => row[6 * c + place] ?? 0));
        return places.map((a) => places.map((b) => dot(a, b) / (norm(a) * norm(b))));
      });
    const [s, t] = pair.map(affinity) as [Matrix, Matrix];
    await checkHint(spatialAffinity, pair, average(pairs(s, t).map(([a, b]) => Math.abs(a - b))));
  });
});

describe('quantiles', () => {
  const quantiles = [0.1, 0.5, 0.9];

  test('pinball loss of forecasts with an axis of quantiles', async () => {
    const [forecast, label] = [noise([3, 4, 3], 9), noise([3, 4, 1], 10)];
    const [f, y] = [float32Values(forecast), float32Values(label)];
    const losses = [...f].map((value, at) => {
      const [level, error] = [quantiles[at % 3] ?? 0, (y[Math.floor(at / 3)] ?? 0) - value];
      return Math.max(level * error, (level - 1) * error);
    });
    await checkHint((w, s, t) => pinball(w, s.value, t.value, quantiles), [forecast, label], average(losses));
  });

  test('the least loss of a constant forecast is at the quantile of the labels', async () => {
    const count = 200;
    const labels = Float32Array.from({ length: count }, (_, at) => (at + 0.5) / count);
    const feeds = (level: number) => ({ s: float32Tensor([1, 1], [level]), t: float32Tensor([count, 1], labels) });
    const model = lossModel((w, s, t) => pinball(w, s, t, [0.9]), feeds(0));
    const at = async (level: number): Promise<number> => (await outputsOf(model, feeds(level)))[0]?.[0] ?? Number.NaN;
    const [least, below, above] = [await at(0.9), await at(0.85), await at(0.95)];
    expect(least).toBeLessThan(below);
    expect(least).toBeLessThan(above);
  });
});

describe('attention', () => {
  const probabilities = (seed: number): Tensor => {
    const logits = noise([2, 2, 3, 4], seed);
    return float32Tensor(
      logits.dims,
      matrices(logits).flatMap((matrix) => matrix.flatMap(softmax)),
    );
  };

  test('maps: KL of the rows, masked keys included', async () => {
    const pair = [probabilities(11), probabilities(12)] as const;
    const [s, t] = pair.map((tensor) => matrices(tensor).flat()) as [Matrix, Matrix];
    await checkHint(attentionMaps, pair, average(t.map((row, at) => kl(row, s[at] ?? []))));
    const masked = float32Tensor([1, 1, 1, 2], [1, 0]);
    const model = lossModel((w, a, b) => attentionMaps(w, { value: a, dims: masked.dims }, { value: b, dims: masked.dims }), {
      s: masked,
      t: masked,
    });
    expect((await outputsOf(model, { s: masked, t: masked }))[0]?.[0]).toBe(0);
  });

  const relations = (heads: readonly Matrix[]): Matrix =>
    heads.flatMap((tokens) => tokens.map((own) => softmax(tokens.map((other) => dot(own, other) / Math.sqrt(own.length)))));

  test('values: KL of how alike tokens are, head by head, whatever the depth', async () => {
    const pair = [noise([2, 2, 3, 4], 13, 2), noise([2, 2, 3, 6], 14, 2)] as const;
    const [s, t] = pair.map((tensor) => relations(matrices(tensor))) as [Matrix, Matrix];
    await checkHint((w, a, b) => valueRelations(w, [a, b]), pair, average(t.map((row, at) => kl(row, s[at] ?? []))));
  });

  test('relation heads divide anew what heads of other numbers hold', async () => {
    const pair = [noise([2, 3, 8], 15, 2), noise([2, 3, 3, 4], 16, 2)] as const;
    const divided = (rows: Matrix): Matrix[] => {
      const width = (rows[0]?.length ?? 0) / 2;
      return [rows.map((row) => row.slice(0, width)), rows.map((row) => row.slice(width))];
    };
    const joined = (sample: readonly Matrix[]): Matrix => (sample[0] ?? []).map((_, token) => sample.flatMap((head) => head[token] ?? []));
    const [wide, headed] = pair.map(matrices) as [Matrix[], Matrix[]];
    const s = relations(wide.flatMap(divided));
    const t = relations([headed.slice(0, 3), headed.slice(3)].map(joined).flatMap(divided));
    await checkHint((w, a, b) => valueRelations(w, [a, b], 2), pair, average(t.map((row, at) => kl(row, s[at] ?? []))));
  });

  test('networks that do not compare are told what does', () => {
    const builder = new ModelBuilder({ opset: 18 });
    const write = new GraphWriter(builder.model, new NameAuthority(builder.model));
    const feature = (name: string, dims: readonly number[]): Feature => ({ value: builder.input(name, [...dims]), dims });
    const [two, three] = [feature('two', [1, 2, 4, 4]), feature('three', [1, 3, 4, 4])];
    expect(() => attentionMaps(write, two, three)).toThrow("'value-relation' compares any");
    expect(() => valueRelations(write, [two, three])).toThrow('"heads" divides both anew');
    expect(() => valueRelations(write, [two, three], 5)).toThrow('do not divide into 5 "heads"');
  });
});
