import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { cloneModel, elementCount, float32Tensor, float32Values, type Model } from '../../../../services/engine/ir/index.js';
import type { Candidate } from '../../../../services/engine/low-rank/candidates.js';
import { cpForm } from '../../../../services/engine/low-rank/cp-form.js';
import { composed, costOf, type Factor } from '../../../../services/engine/low-rank/factors.js';
import { weightRows } from '../../../../services/engine/low-rank/matrix-layers.js';
import type { RankForm } from '../../../../services/engine/low-rank/rank-form.js';
import { spatialForm } from '../../../../services/engine/low-rank/spatial-form.js';
import { svdForm } from '../../../../services/engine/low-rank/svd-form.js';
import { tuckerForm } from '../../../../services/engine/low-rank/tucker-form.js';
import { writeFactors } from '../../../../services/engine/low-rank/write-factors.js';
import { noise, operators, outputsOf, removeScratch, sqnr } from '../quantization/method-fixtures.js';
import { type ConvolutionSpec, convolutionModel, onlyLayer } from './layer-models.js';
import { difference, squares } from './matrices.js';

afterAll(removeScratch);

const axes = fc.integer({ min: 1, max: 2 }).chain((count) => {
  const each = (value: fc.Arbitrary<number>): fc.Arbitrary<number[]> => fc.array(value, { minLength: count, maxLength: count });
  return fc.record({
    spatial: each(fc.integer({ min: 7, max: 11 })),
    kernel: each(fc.integer({ min: 1, max: 3 })),
    strides: each(fc.integer({ min: 1, max: 3 })),
    dilations: each(fc.integer({ min: 1, max: 2 })),
    before: each(fc.integer({ min: 0, max: 2 })),
    after: each(fc.integer({ min: 0, max: 2 })),
  });
});

const convolution = fc.record({
  inputs: fc.integer({ min: 2, max: 6 }),
  outputs: fc.integer({ min: 2, max: 7 }),
  axes,
  padding: fc.constantFrom('explicit', 'SAME_UPPER', 'SAME_LOWER', 'VALID'),
  bias: fc.boolean(),
  opset: fc.constantFrom(9, 13, 21),
  seed: fc.nat(10_000),
});

function specOf({
  axes: { before, after, ...walk },
  padding,
  ...rest
}: typeof convolution extends fc.Arbitrary<infer T> ? T : never): ConvolutionSpec {
  const pads = padding === 'explicit' ? { pads: [...before, ...after] } : { autoPad: padding };
  // The runtime refuses dilated windows with SAME.
  const dilations = padding.startsWith('SAME') ? walk.dilations.map(() => 1) : walk.dilations;
  return { ...rest, ...walk, ...pads, dilations };
}

function formsOf(model: Model): RankForm[] {
  const layer = onlyLayer(model);
  const form = { ...layer, rows: weightRows(layer) };
  return [svdForm(form, { multiple: 1, metric: null }), spatialForm(form, 1), tuckerForm(form, 1), cpForm(form, 1)].filter(
    (each) => each !== null,
  );
}

function written(model: Model, factors: readonly Factor[]): Model {
  const copy = cloneModel(model);
  const choice: Candidate = {
    form: 'svd',
    ranks: [],
    full: [],
    cost: { macs: 0, parameters: 0 },
    lost: 0,
    sqnr_db: null,
    factors: () => factors,
    biasShift: () => null,
  };
  writeFactors(copy, new Map([[onlyLayer(model).name, choice]]));
  return copy;
}

describe('factors of a convolution', () => {
  it('compute in onnxruntime what the one weight does that they amount to: every form, rank, stride, pad and dilation', async () => {
    let forms = 0;
    await fc.assert(
      fc.asyncProperty(convolution, fc.nat(100), async (each, pick) => {
        const spec = specOf(each);
        const model = convolutionModel(spec);
        const x = noise([2, spec.inputs, ...spec.spatial], each.seed + 5);
        for (const form of formsOf(model)) {
          const ranks = form.ladder[pick % Math.max(1, form.ladder.length)];
          if (!ranks) continue;
          forms += 1;
          const factors = form.factors(ranks);
          expect(factors.map(({ dims }) => dims)).toEqual(form.shapes(ranks).map(({ dims }) => dims));
          for (const { dims, values } of factors) expect(values.length).toBe(elementCount(dims));
          const dense = convolutionModel({
            ...spec,
            weight: float32Tensor([spec.outputs, spec.inputs, ...spec.kernel], composed(factors)),
          });
          const [[expected], [actual]] = [await outputsOf(dense, { x }), await outputsOf(written(model, factors), { x })];
          expect(actual?.length).toBe(expected?.length);
          expect(sqnr(expected ?? new Float32Array(), actual ?? new Float32Array())).toBeGreaterThan(90);
        }
      }),
      { numRuns: 60 },
    );
    expect(forms).toBeGreaterThan(60);
  });

  it('are the convolution itself at the full rank of its weight', async () => {
    let forms = 0;
    await fc.assert(
      fc.asyncProperty(convolution, async (each) => {
        const spec = specOf(each);
        const x = noise([1, spec.inputs, ...spec.spatial], each.seed + 5);
        for (const { name, shapes, ladder, full } of formsOf(convolutionModel(spec))) {
          // Factors of SVD are held up to the last rank that saves; of CP no exact rank is known.
          const ranks = name === 'tucker' ? full : ladder.at(-1);
          if (!ranks || name === 'cp') continue;
          forms += 1;
          const random = shapes(ranks).map((shape, at) => ({ ...shape, values: float32Values(noise(shape.dims, each.seed + at)) }));
          const weight = float32Tensor([spec.outputs, spec.inputs, ...spec.kernel], composed(random));
          const model = convolutionModel({ ...spec, weight });
          const found = formsOf(model).find((form) => form.name === name);
          const [expected = new Float32Array()] = await outputsOf(model, { x });
          const [actual = new Float32Array()] = await outputsOf(written(model, found?.factors(ranks) ?? []), { x });
          expect(sqnr(expected, actual)).toBeGreaterThan(90);
        }
      }),
      { numRuns: 40 },
    );
    expect(forms).toBeGreaterThan(40);
  });

  it.each([
    ['svd', [3]],
    ['spatial-svd', [4]],
    ['tucker', [2, 3]],
    ['cp', [2]],
  ] as const)('find a weight of low %s rank exactly', (name, ranks) => {
    const spec = { inputs: 8, outputs: 10, kernel: [3, 3], spatial: [9, 9] };
    const random = formsOf(convolutionModel(spec)).find((form) => form.name === name);
    const shapes = random?.shapes(ranks) ?? [];
    const truth = composed(shapes.map((shape, at) => ({ ...shape, values: float32Values(noise(shape.dims, at + 3)) })));
    const form = formsOf(convolutionModel({ ...spec, weight: float32Tensor([10, 8, 3, 3], truth) })).find((each) => each.name === name);
    const found = composed(form?.factors(ranks) ?? []);
    expect(squares(difference(truth, found))).toBeLessThan(name === 'cp' ? 1e-3 * squares(truth) : 1e-10 * squares(truth));
    if (form?.lost) expect(form.lost(ranks)).toBeLessThan(1e-9);
  });

  it('tell the share of the energy that the built factors lose', () => {
    const model = convolutionModel({ inputs: 8, outputs: 10, kernel: [3, 3], spatial: [9, 9] });
    const rows = weightRows(onlyLayer(model));
    let told = 0;
    for (const form of formsOf(model)) {
      if (!form.lost) continue;
      for (const ranks of form.ladder) {
        expect(form.lost(ranks)).toBeCloseTo(squares(difference(rows, composed(form.factors(ranks)))) / squares(rows), 5);
        told += 1;
      }
    }
    expect(told).toBeGreaterThan(8);
  });

  it('cost what the runtime multiplies: each weight once for every position of its own output', () => {
    const [, spatial, tucker] = formsOf(convolutionModel({ inputs: 8, outputs: 10, kernel: [3, 3], spatial: [12, 12], strides: [2, 3] }));
    const positions = { rows: 2, input: [12, 12], output: [5, 4] };
    expect(costOf(spatial?.shapes([4]) ?? [], positions)).toEqual({
      parameters: 4 * 8 * 3 + 10 * 4 * 3,
      macs: 2 * (4 * 8 * 3 * 5 * 12 + 10 * 4 * 3 * 5 * 4),
    });
    expect(costOf(tucker?.shapes([2, 3]) ?? [], positions)).toEqual({
      parameters: 2 * 8 + 3 * 2 * 9 + 10 * 3,
      macs: 2 * (2 * 8 * 144 + 3 * 2 * 9 * 20 + 10 * 3 * 20),
    });
  });

  it('keep the name of the layer for the last operator, and the bias there', () => {
    const model = convolutionModel({ inputs: 8, outputs: 10, kernel: [3, 3], spatial: [9, 9] });
    const [svd] = formsOf(model);
    const copy = written(model, svd?.factors([2]) ?? []);
    expect(operators(copy)).toEqual(['Conv', 'Conv']);
    expect(copy.graph.nodes.map(({ name, inputs }) => [name, inputs.length])).toEqual([
      ['Conv_0_low_rank', 2],
      ['Conv_0', 3],
    ]);
    expect([...copy.graph.initializers.keys()].map(({ name }) => name)).not.toContain('w');
  });
});
