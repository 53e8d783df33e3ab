import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { type Attribute, attributeOf, elementCount, float32Values, type Tensor } from '../../../../services/engine/ir/index.js';
import { convolutionWindow, type GramMatrix, gramMatrices } from '../../../../services/engine/normal-equations/gram-matrices.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch } from '../quantization/method-fixtures.js';
import { samplesOf } from '../quantization/weight-storage/sample-source.js';

afterAll(removeScratch);

const convolutionCase = fc
  .record({
    opType: fc.constantFrom('Conv' as const, 'ConvTranspose' as const),
    opset: fc.constantFrom(7, 9, 11, 13, 18, 21),
    group: fc.constantFrom(1, 2, 3),
    inputsPerGroup: fc.integer({ min: 1, max: 3 }),
    outputsPerGroup: fc.integer({ min: 1, max: 3 }),
    spatial: fc.constantFrom<number[][]>([9], [6, 7], [4, 3, 5]),
    kernelSize: fc.integer({ min: 1, max: 3 }),
    stride: fc.integer({ min: 1, max: 2 }),
    dilation: fc.integer({ min: 1, max: 2 }),
    pad: fc.integer({ min: 0, max: 1 }),
    samples: fc.integer({ min: 1, max: 5 }),
    seed: fc.nat(1000),
  })
  .filter(({ kernelSize, dilation, spatial, pad }) => (kernelSize - 1) * dilation + 1 <= Math.min(...spatial) && pad < kernelSize);

/** The columns of the rows in the order of the flattened weight: for output `o` of group `g`, its weights along K. */
function weightRow(weight: Tensor, { opType, group, output }: { opType: string; group: number; output: number }): Float64Array {
  const values = float32Values(weight);
  const [first = 0, second = 0, ...kernel] = weight.dims;
  const positions = elementCount(kernel);
  if (opType === 'Conv') return Float64Array.from(values.subarray(output * second * positions, (output + 1) * second * positions));
  const inputs = first / group;
  const [g, o] = [Math.floor(output / second), output % second];
  return Float64Array.from({ length: inputs * positions }, (_, at) => {
    const [input, position] = [Math.floor(at / positions), at % positions];
    return values[((g * inputs + input) * second + o) * positions + position] ?? 0;
  });
}

/** w^T G w and w . mean of one group. */
function moments({ gram, depth, mean }: GramMatrix, row: Float64Array, group: number): { square: number; mean: number } {
  let square = 0;
  let average = 0;
  for (let i = 0; i < depth; i += 1) {
    average += (row[i] ?? 0) * (mean[group * depth + i] ?? 0);
    for (let j = 0; j < depth; j += 1) square += (row[i] ?? 0) * (row[j] ?? 0) * (gram[group * depth ** 2 + i * depth + j] ?? 0);
  }
  return { square, mean: average };
}

describe('gramMatrices', () => {
  it('predicts the squares and means of the outputs of every convolution: sum y^2 = w^T (X^T X) w, mean y = w . mean x', async () => {
    await fc.assert(
      fc.asyncProperty(convolutionCase, async (layer) => {
        const { opType, group, inputsPerGroup, outputsPerGroup, spatial, seed } = layer;
        const kernel = spatial.map(() => layer.kernelSize);
        const channels = group * inputsPerGroup;
        const weightDims = opType === 'Conv' ? [group * outputsPerGroup, inputsPerGroup] : [channels, outputsPerGroup];
        const weight = noise([...weightDims, ...kernel], seed);
        const builder = new ModelBuilder({ opset: layer.opset });
        const x = builder.node('Relu', [builder.input('x', ['n', channels, ...spatial])]);
        const each = (value: number): Attribute => attributeOf.ints(spatial.map(() => value));
        const attributes = {
          group: attributeOf.int(group),
          strides: each(layer.stride),
          dilations: each(layer.dilation),
          pads: attributeOf.ints([...spatial, ...spatial].map(() => layer.pad)),
          kernel_shape: attributeOf.ints(kernel),
        };
        const { model } = builder.output(builder.node(opType, [x, builder.constant('w', weight)], attributes));
        const samples = noise([layer.samples, channels, ...spatial], seed + 1);
        const [node] = model.graph.nodes.slice(-1);
        if (!node) throw new Error('no node');
        const window = convolutionWindow(node, weight.dims);
        const depth = inputsPerGroup * elementCount(kernel);
        const layers = [{ activation: x.name, depth, window, key: 'layer' }];
        const request = { model, layers, samples: samplesOf('x', samples), context: contextFor('measured') };
        const found = (await gramMatrices(request)).get('layer');
        if (!found) throw new Error('no matrix');
        const [y = new Float32Array()] = await outputsOf(model, { x: samples });
        const outputs = group * outputsPerGroup;
        const positions = y.length / outputs / layer.samples;
        expect(found.rows).toBe(positions * layer.samples);
        for (let output = 0; output < outputs; output += 1) {
          const own = y.filter((_, at) => Math.floor(at / positions) % outputs === output);
          const expected = moments(found, weightRow(weight, { opType, group, output }), Math.floor(output / outputsPerGroup));
          const square = own.reduce((sum, value) => sum + value ** 2, 0);
          expect(Math.abs(expected.square - square)).toBeLessThan(1e-4 * square + 1e-6);
          expect(expected.mean).toBeCloseTo(own.reduce((sum, value) => sum + value, 0) / own.length, 4);
        }
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  it('sums the rows of a MatMul over all leading axes, in several passes and runs as in one', async () => {
    const builder = new ModelBuilder({ opset: 9 });
    const x = builder.node('Relu', [builder.input('x', ['n', 7, 5])]);
    const { model } = builder.output(builder.node('MatMul', [x, builder.constant('w', noise([5, 4], 1))]));
    const samples = noise([130, 7, 5], 2);
    const layers = [{ activation: x.name, depth: 5 }];
    const found = (await gramMatrices({ model, layers, samples: samplesOf('x', samples), context: contextFor('measured') })).get(x.name);
    const rows = float32Values(samples).map((value) => Math.max(0, value));
    expect(found?.rows).toBe(910);
    for (let i = 0; i < 5; i += 1) {
      for (let j = 0; j < 5; j += 1) {
        let sum = 0;
        for (let at = 0; at < rows.length; at += 5) sum += (rows[at + i] ?? 0) * (rows[at + j] ?? 0);
        expect(found?.gram[i * 5 + j]).toBeCloseTo(sum, 3);
      }
    }
  });

  it('sums the rows of a model with a fixed batch of one as it sums them in large runs', async () => {
    const builder = new ModelBuilder({ opset: 9 });
    const x = builder.node('Relu', [builder.input('x', ['n', 40])]);
    const { model } = builder.output(builder.node('MatMul', [x, builder.constant('w', noise([40, 4], 1))]));
    const samples = samplesOf('x', noise([97, 40], 2));
    const one = { ...samples, fixedBatch: 1, runs: (_size: number, limit?: number) => samples.runs(1, limit) };
    const request = { model, layers: [{ activation: x.name, depth: 40 }], context: contextFor('measured') };
    const [gathered, together] = [await gramMatrices({ ...request, samples: one }), await gramMatrices({ ...request, samples })];
    const [a, b] = [gathered.get(x.name) ?? failed(), together.get(x.name) ?? failed()];
    expect([a.rows, b.rows]).toEqual([97, 97]);
    for (const [at, value] of b.gram.entries()) expect(a.gram[at]).toBeCloseTo(value, 4);
    for (const [at, value] of b.mean.entries()) expect(a.mean[at]).toBeCloseTo(value, 6);
  });

  it('takes about rowsMax rows, evenly: the mean square stays what it was', async () => {
    const builder = new ModelBuilder();
    const x = builder.node('Relu', [builder.input('x', ['n', 1, 32, 32])]);
    const node = builder.node('Conv', [x, builder.constant('w', noise([4, 1, 3, 3], 1))]);
    const { model } = builder.output(node);
    const window = convolutionWindow(node.producer ?? model.graph.nodes[0] ?? failed(), [4, 1, 3, 3]);
    const layers = [{ activation: x.name, depth: 9, window, key: 'layer' }];
    const request = { model, layers, samples: samplesOf('x', noise([50, 1, 32, 32], 2)), context: contextFor('measured') };
    const all = (await gramMatrices(request)).get('layer');
    const some = (await gramMatrices({ ...request, rowsMax: 5000 })).get('layer');
    expect(all?.rows).toBe(45_000);
    expect(some?.rows).toBeGreaterThan(4000);
    expect(some?.rows).toBeLessThan(6000);
    for (const [at, value] of (all?.gram ?? []).entries()) {
      expect((some?.gram[at] ?? 0) / (some?.rows ?? 1)).toBeCloseTo(value / 45_000, 1);
    }
  });

  it('leaves out layers whose activation is not a value of the main graph', async () => {
    const builder = new ModelBuilder();
    const { model } = builder.output(builder.node('Relu', [builder.input('x', ['n', 3])]));
    const layers = [{ activation: 'inside a branch', depth: 3 }];
    expect((await gramMatrices({ model, layers, samples: samplesOf('x', noise([2, 3], 1)), context: contextFor('measured') })).size).toBe(
      0,
    );
  });
});

function failed(): never {
  throw new Error('no node');
}
