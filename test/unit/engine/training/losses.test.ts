/** Every loss against its formula in float64, and its gradient against central differences. */
import { describe, expect, test } from 'vitest';
import { float32Tensor, float32Values, type GraphWriter, type Tensor, type Value } from '../../../../services/engine/ir/index.js';
import {
  binaryCrossEntropy,
  crossEntropy,
  decoupledDistillation,
  knowledgeDistillation,
} from '../../../../services/engine/training/losses/class-losses.js';
import {
  attentionTransfer,
  relationalDistances,
  similarityPreserving,
} from '../../../../services/engine/training/losses/feature-losses.js';
import {
  huber,
  meanAbsoluteError,
  meanSquaredError,
  relativeSquaredError,
} from '../../../../services/engine/training/losses/value-losses.js';
import { noise, outputsOf } from '../quantization/method-fixtures.js';
import {
  average,
  checkLoss,
  flat,
  huberOf,
  kl,
  lossModel,
  type Matrix,
  norm,
  pairs,
  rowsOf,
  scaled,
  softmax,
  sum,
} from './loss-fixtures.js';

const [ROWS, CLASSES] = [4, 5];
const zScore = (row: readonly number[]): number[] => {
  const mean = sum(row) / row.length;
  const deviation = Math.sqrt(sum(row.map((value) => (value - mean) ** 2)) / row.length + 1e-7);
  return row.map((value) => (value - mean) / deviation);
};
const meanOver = (s: Matrix, t: Matrix, each: (s: number[], t: number[], row: number) => number): number =>
  sum(s.map((row, at) => each(row, t[at] ?? [], at))) / s.length;
const student = noise([ROWS, CLASSES], 1, 2);
const teacher = noise([ROWS, CLASSES], 2, 3);
const labels = [1, 4, 0, 1];
const oneHot = float32Tensor(
  [ROWS, CLASSES],
  labels.flatMap((label) => Array.from({ length: CLASSES }, (_, at) => (at === label ? 1 : 0))),
);
const shares = float32Tensor(
  [ROWS, CLASSES],
  Float32Array.from(float32Values(noise([ROWS, CLASSES], 3)), (value) => (value + 1) / 2),
);

interface Case {
  readonly name: string;
  readonly write: (write: GraphWriter, student: Value, teacher: Value, target: Value) => Value;
  readonly formula: (s: Matrix, t: Matrix, q: Matrix) => number;
  readonly target?: Tensor;
}

const dims = [ROWS, CLASSES];
const scores = (logits: Value) => ({ logits, dims });

const cases: readonly Case[] = [
  {
    name: 'cross-entropy',
    write: (write, s, _t, q) => crossEntropy(write, scores(s), q),
    formula: (s) => meanOver(s, s, (row, _, at) => -Math.log(softmax(row)[labels[at] ?? 0] ?? 0)),
  },
  {
    name: 'binary cross-entropy',
    write: (write, s, _t, q) => binaryCrossEntropy(write, s, q),
    formula: (s, _t, q) =>
      average(pairs(s, q).map(([z, share]) => -share * Math.log(1 / (1 + Math.exp(-z))) - (1 - share) * Math.log(1 / (1 + Math.exp(z))))),
    target: shares,
  },
  {
    name: 'distillation at temperature 4',
    write: (write, s, t) => knowledgeDistillation(write, scores(s), t, { temperature: 4, standardize: false }),
    formula: (s, t) => 16 * meanOver(s, t, (a, b) => kl(softmax(scaled(b, 1 / 4)), softmax(scaled(a, 1 / 4)))),
  },
  {
    name: 'distillation of standardized scores',
    write: (write, s, t) => knowledgeDistillation(write, scores(s), t, { temperature: 2, standardize: true }),
    formula: (s, t) => 4 * meanOver(s, t, (a, b) => kl(softmax(scaled(zScore(b), 1 / 2)), softmax(scaled(zScore(a), 1 / 2)))),
  },
  {
    name: 'decoupled distillation',
    write: (write, s, t, q) => decoupledDistillation(write, scores(s), { teacher: t, target: q }, { temperature: 2, alpha: 1, beta: 4 }),
    formula: (s, t) =>
      4 *
      meanOver(s, t, (a, b, at) => {
        const label = labels[at] ?? 0;
        const parts = (row: number[]) => {
          const all = softmax(scaled(row, 1 / 2));
          const others = softmax(scaled(row, 1 / 2).filter((_, other) => other !== label));
          return { binary: [all[label] ?? 0, 1 - (all[label] ?? 0)], others };
        };
        const [ofStudent, ofTeacher] = [parts(a), parts(b)];
        return kl(ofTeacher.binary, ofStudent.binary) + 4 * kl(ofTeacher.others, ofStudent.others);
      }),
  },
  {
    name: 'mean squared error',
    write: (w, s, t) => meanSquaredError(w, s, t),
    formula: (s, t) => average(pairs(s, t).map(([a, b]) => (a - b) ** 2)),
  },
  {
    name: 'mean absolute error',
    write: (w, s, t) => meanAbsoluteError(w, s, t),
    formula: (s, t) => average(pairs(s, t).map(([a, b]) => Math.abs(a - b))),
  },
  {
    name: 'Huber',
    write: (w, s, t) => huber(w, s, t, 1.5),
    formula: (s, t) => average(pairs(s, t).map(([a, b]) => (Math.abs(a - b) <= 1.5 ? (a - b) ** 2 / 2 : 1.5 * (Math.abs(a - b) - 0.75)))),
  },
  {
    name: 'relative squared error',
    write: (w, s, t) => relativeSquaredError(w, s, t),
    formula: (s, t) => sum(pairs(s, t).map(([a, b]) => (a - b) ** 2)) / sum(flat(t).map((b) => b ** 2)),
  },
  {
    name: 'similarity preserving',
    write: (w, s, t) => similarityPreserving(w, { value: s, dims }, { value: t, dims }),
    formula: (s, t) => {
      const similarity = (m: Matrix): Matrix =>
        m
          .map((row) => m.map((other) => sum(row.map((value, at) => value * (other[at] ?? 0)))))
          .map((row) => row.map((value) => value / norm(row)));
      return average(pairs(similarity(s), similarity(t)).map(([a, b]) => (a - b) ** 2));
    },
  },
  {
    name: 'relational distances',
    write: (w, s, t) => relationalDistances(w, { value: s, dims }, { value: t, dims }),
    formula: (s, t) => {
      const psi = (m: Matrix): Matrix => {
        const distances = m.map((row) => m.map((other) => Math.sqrt(sum(row.map((value, at) => (value - (other[at] ?? 0)) ** 2)) + 1e-8)));
        const mean = average(flat(distances));
        return distances.map((row) => row.map((value) => value / mean));
      };
      return average(pairs(psi(s), psi(t)).map(([a, b]) => huberOf(a - b)));
    },
  },
];

describe('losses', () => {
  test.each(cases)('$name', async ({ write, formula, target = oneHot }) => {
    const feeds = { s: student, t: teacher, q: target };
    const model = lossModel(
      (w, s, t, q) =>
        w.node('Add', [
          write(w, s, t, q),
          w.node('Mul', [w.float(0), w.node('ReduceSum', [w.node('Add', [t, q])], { keepdims: { kind: 'int', value: 0n } })]),
        ]),
      feeds,
    );
    await checkLoss(model, feeds, formula(rowsOf(student), rowsOf(teacher), rowsOf(target)));
  });

  test('attention transfer compares where the energy is, whatever the widths', async () => {
    const [a, b] = [noise([2, 3, 2, 2], 4), noise([2, 5, 2, 2], 5)];
    const feeds = { s: a, t: b };
    const model = lossModel((w, s, t) => attentionTransfer(w, { value: s, dims: a.dims }, { value: t, dims: b.dims }), feeds);
    const maps = (tensor: Tensor, channels: number): Matrix =>
      rowsOf(tensor).map((row) => {
        const energy = Array.from({ length: 4 }, (_, place) =>
          sum(Array.from({ length: channels }, (_, c) => (row[4 * c + place] ?? 0) ** 2)),
        );
        return energy.map((value) => value / norm(energy));
      });
    await checkLoss(model, feeds, average(pairs(maps(a, 3), maps(b, 5)).map(([x, y]) => (x - y) ** 2)));
  });

  test('the gradient of distillation is T (p_student - p_teacher) / N', async () => {
    const model = lossModel((w, s, t) => knowledgeDistillation(w, scores(s), t, { temperature: 3, standardize: false }), {
      s: student,
      t: teacher,
    });
    const h = 1e-2;
    const s = float32Values(student);
    const [p, q] = [rowsOf(student), rowsOf(teacher)].map((rows) => softmax(scaled(rows[0] ?? [], 1 / 3)));
    for (let at = 0; at < CLASSES; at++) {
      const moved = async (by: number): Promise<number> => {
        const values = s.slice();
        values[at] = (values[at] ?? 0) + by;
        const [loss] = await outputsOf(model, { s: float32Tensor(dims, values), t: teacher });
        return loss?.[0] ?? Number.NaN;
      };
      expect(((await moved(h)) - (await moved(-h))) / (2 * h)).toBeCloseTo((3 * ((p?.[at] ?? 0) - (q?.[at] ?? 0))) / ROWS, 3);
    }
  });
});
