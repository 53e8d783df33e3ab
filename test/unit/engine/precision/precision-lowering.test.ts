/** Precision lowering: the bound is kept, the codes stay narrow, the file says its widths and runs anywhere. */
import { afterAll, describe, expect, test } from 'vitest';
import { bitTableOf, shippedProfile } from '../../../../services/engine/accelerators/index.js';
import { attributeOf, cloneModel, float32Tensor, float32Values, type Model, type Tensor } from '../../../../services/engine/ir/index.js';
import { precisionLowering } from '../../../../services/engine/precision/index.js';
import { coveredRange, levelsOf, mapCodes, weightLimit } from '../../../../services/engine/precision/narrow-codes.js';
import { roundMaps } from '../../../../services/engine/precision/rounded-maps.js';
import { realRows, roundWeights } from '../../../../services/engine/precision/weight-codes.js';
import { roundHalfToEven } from '../../../../services/engine/quantization/quantization-parameters.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch, runtime, sqnr } from '../quantization/method-fixtures.js';
import { learningContext, sourceOf } from '../training/training-fixtures.js';

afterAll(removeScratch);

const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
const images = noise([24, 2, 8, 8], 5);
const source = sourceOf({ input: 'x', dims: [2, 8, 8], values: float32Values(images) });

/** Convolutions with Relu, PRelu and nothing behind, a transposed one, an operator in between that nothing is known of, and a Gemm. */
function network(opset = 17): Model {
  const net = new ModelBuilder({ opset });
  const constant = (name: string, dims: readonly number[], seed: number) => net.constant(name, noise(dims, seed, 0.5));
  const x = net.input('x', ['n', 2, 8, 8]);
  const first = net.node('Relu', [net.node('Conv', [x, constant('w1', [8, 2, 3, 3], 1), constant('b1', [8], 2)], pads)]);
  const second = net.node('PRelu', [
    net.node('Conv', [first, constant('w2', [8, 8, 3, 3], 3), constant('b2', [8], 4)], pads),
    constant('slopes', [8, 1, 1], 5),
  ]);
  const up = net.node('ConvTranspose', [net.node('Tanh', [second]), constant('w3', [8, 4, 2, 2], 6)], {
    strides: attributeOf.ints([2, 2]),
  });
  const pooled = net.node('Flatten', [net.node('GlobalAveragePool', [up])]);
  return net.output(net.node('Gemm', [pooled, constant('w4', [4, 3], 7), constant('b4', [3], 8)]), ['n', 3]).output(up, ['n', 4, 16, 16])
    .model;
}

async function fidelity(model: Model): Promise<number> {
  const before = await outputsOf(network(), { x: images });
  const after = await outputsOf(model, { x: images });
  return Math.min(...before.map((values, at) => sqnr(values, after[at] ?? new Float32Array())));
}

/** What stands behind every QuantizeLinear of the main graph, as integers. */
async function codesOf(model: Model): Promise<Map<string, number[]>> {
  const copy = cloneModel(model);
  const made = copy.graph.nodes.flatMap((node) => (node.opType === 'QuantizeLinear' ? node.outputs : []));
  copy.graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...made.flatMap((value) => value ?? []));
  const session = await runtime.open(copy);
  try {
    const results = await session.run(new Map([['x', images]]));
    return new Map([...results].map(([name, tensor]) => [name, integers(tensor)]));
  } finally {
    await session.close();
  }
}

/** By name of the initializer; weights are those with more than one element. */
function weightCodes({ graph }: Model): Map<string, number[]> {
  const stored = [...graph.initializers].filter(([, { dataType, dims }]) => dataType === 'int8' && dims.length > 0);
  return new Map(stored.map(([{ name }, tensor]) => [name, integers(tensor)]));
}

function integers({ dataType, data }: Tensor): number[] {
  const bytes = Uint8Array.from(data.read());
  const arrays = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array };
  const Type = arrays[dataType as keyof typeof arrays];
  return [...new Type(bytes.buffer)];
}

function scalesOf({ graph }: Model): number[] {
  return graph.nodes.flatMap(({ opType, inputs: [, scale] }) => {
    const tensor = /^(De)?[Qq]uantizeLinear$/.test(opType) && scale ? graph.initializers.get(scale) : undefined;
    return tensor ? [...float32Values(tensor)] : [];
  });
}

describe('precision lowering', () => {
  test.each([20, 35])('keeps %d dB, lowers below 16 bits, and leaves names and shapes', async (min_sqnr_db) => {
    const model = network();
    const { layers = [], warnings = [] } = await precisionLowering(model, { min_sqnr_db }, learningContext(source));
    expect(await fidelity(model)).toBeGreaterThanOrEqual(min_sqnr_db - 0.01);
    const table = bitTableOf(model);
    const bits = [...Object.values(table.maps ?? {}), ...Object.values(table.weights ?? {})];
    expect(bits.length).toBeGreaterThan(5);
    expect(bits.every((each) => Number.isInteger(each) && each >= 2 && each < 16)).toBe(true);
    expect(layers).toHaveLength(4);
    expect(warnings.join(' ')).toMatch(/A CPU gains nothing|a CPU gains nothing/);
    expect(model.graph.outputs.map(({ name }) => name)).toEqual(network().graph.outputs.map(({ name }) => name));
    expect(model.graph.inputs.map(({ name }) => name)).toEqual(['x']);
  });

  test('codes use no more than the bits that the table tells, whatever the samples', async () => {
    const model = network();
    await precisionLowering(model, { activation_bits: 3, weight_bits: 4 }, learningContext(source));
    const table = bitTableOf(model);
    const codes = await codesOf(model);
    expect(codes.size).toBeGreaterThanOrEqual(4);
    for (const [name, values] of codes) {
      const map = name.replace(/_quantized$/, '');
      const bits = table.maps?.[map] ?? 0;
      expect(bits).toBeGreaterThan(0);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      expect(high - low).toBeLessThan(2 ** bits);
      expect(low).toBeGreaterThanOrEqual(-(2 ** (bits - 1)));
    }
    const weights = model.graph.nodes.filter(
      ({ opType, inputs: [codes] }) => opType === 'DequantizeLinear' && codes && model.graph.initializers.has(codes),
    );
    expect(weights).toHaveLength(4);
    for (const { inputs } of weights) {
      const tensor = inputs[0] && model.graph.initializers.get(inputs[0]);
      expect(tensor && Math.max(...integers(tensor).map(Math.abs))).toBeLessThanOrEqual(7);
    }
  });

  test('one scale per output channel is nearer than one per weight', async () => {
    const [single, several] = [network(), network()];
    await precisionLowering(single, { weight_bits: 3, activation_bits: 15 }, learningContext(source));
    await precisionLowering(several, { weight_bits: 3, activation_bits: 15, weight_granularity: 'channel' }, learningContext(source));
    expect(await fidelity(several)).toBeGreaterThan(await fidelity(single));
  });

  test('writes what operator set 11 reads', async () => {
    const model = network(11);
    await precisionLowering(model, { weight_bits: 8, activation_bits: 8 }, learningContext(source));
    expect(await fidelity(model)).toBeGreaterThan(25);
  });

  test('lowers nothing that saves nothing on the accelerator, and keeps excluded layers', async () => {
    const model = network();
    const accelerator = shippedProfile('eyeriss-16');
    await expect(precisionLowering(model, {}, learningContext(source, { accelerator }))).resolves.toMatchObject({
      nodes: expect.any(Array),
    });
    expect(bitTableOf(model)).toMatchObject({ maps: {}, weights: {} });
    const kept = network();
    await precisionLowering(kept, { weight_bits: 4, min_sqnr_db: 10, exclude: ['Conv_0'] }, learningContext(source));
    expect(Object.keys(bitTableOf(kept).weights ?? {})).not.toContain('w1_quantized');
  });

  test('the gate decides where it bounds a metric', async () => {
    const model = network();
    const judge = { metric: 'mse', maxDrop: 0.01, drop: async (candidate: Model) => 10 ** (-(await fidelity(candidate)) / 10) };
    await precisionLowering(model, {}, learningContext(source, { judge }));
    expect(await judge.drop(model)).toBeLessThanOrEqual(0.01);
  });

  test('asks for samples', async () => {
    await expect(precisionLowering(network(), {}, contextFor('measured'))).rejects.toThrow(/needs calibration samples/);
  });
});

describe('recovery', () => {
  const recovery = { epochs: 40, batch_size: 8, learning_rate: 1e-3 } as const;
  const widths = { activation_bits: 3, weight_bits: 8 } as const;

  test.each([11, 17])('loses less in the same widths, and leaves codes in their bits (operator set %d)', async (opset) => {
    const [plain, trained] = [network(opset), network(opset)];
    await precisionLowering(plain, widths, learningContext(source));
    await precisionLowering(trained, { ...widths, recovery }, learningContext(source));
    expect(await fidelity(trained)).toBeGreaterThan(await fidelity(plain));
    expect(bitTableOf(trained)).toEqual(bitTableOf(plain));
    const bits = bitTableOf(trained).maps ?? {};
    for (const [name, values] of await codesOf(trained))
      expect(Math.max(...values) - Math.min(...values)).toBeLessThan(2 ** (bits[name.replace(/_quantized$/, '')] ?? 0));
  });

  test('is not taken where it loses more', async () => {
    const [plain, trained] = [network(), network()];
    await precisionLowering(plain, widths, learningContext(source));
    await precisionLowering(trained, { ...widths, recovery: { epochs: 2, learning_rate: 1 } }, learningContext(source));
    expect(await fidelity(trained)).toBeCloseTo(await fidelity(plain), 3);
  });

  /** Labels are those of weights of a third: every code has to come closer to 0, and scales that are powers of two stay. */
  test('moves the outermost codes, too', async () => {
    const linear = (share: number): Model => {
      const net = new ModelBuilder();
      const weight = float32Tensor(
        [2, 2],
        [0.75, -0.75, 0.75, 0.5].map((value) => share * value),
      );
      return net.output(net.node('Gemm', [net.input('x', ['n', 2]), net.constant('w', weight)]), ['n', 2]).model;
    };
    const inputs = noise([64, 2], 4);
    const [labels = new Float32Array()] = await outputsOf(linear(1 / 3), { x: inputs });
    const targets = { dims: [2], values: labels };
    const drop = async (candidate: Model): Promise<number> => {
      const [outputs = new Float32Array()] = await outputsOf(candidate, { x: inputs });
      return outputs.reduce((sum, value, at) => sum + (value - (labels[at] ?? 0)) ** 2, 0);
    };
    const context = learningContext(sourceOf({ input: 'x', dims: [2], values: float32Values(inputs), targets }), {
      ...{ accelerator: shippedProfile('dpu-pow2'), judge: { metric: 'mse', maxDrop: 1e6, drop } },
    });
    const model = linear(1);
    const options = { ...recovery, epochs: 100, learning_rate: 1e-2, losses: [{ kind: 'mse' }] } as const;
    await precisionLowering(model, { activation_bits: 12, weight_bits: 3, recovery: options }, context);
    const [codes] = [...weightCodes(model).values()];
    expect(codes).toEqual([1, -1, 1, 1]);
  });

  test('keeps what an accelerator of powers of two can multiply by', async () => {
    const accelerator = shippedProfile('dpu-pow2');
    for (const options of [widths, { ...widths, recovery }, { min_sqnr_db: 15 }]) {
      const model = network();
      await precisionLowering(model, options, learningContext(source, { accelerator }));
      const scales = scalesOf(model);
      expect(scales.length).toBeGreaterThan(8);
      expect(scales.every((scale) => Number.isInteger(Math.log2(scale)))).toBe(true);
    }
    const free = network();
    await precisionLowering(free, widths, learningContext(source));
    expect(scalesOf(free).every((scale) => Number.isInteger(Math.log2(scale)))).toBe(false);
  });
});

describe('narrow codes', () => {
  test('round as the formula says, in every container', async () => {
    const values = Float32Array.of(-3, -1.26, -0.2, 0, 0.1, 0.74, 2.4, 9);
    for (const width of [2, 5, 5.5, 8, 11]) {
      for (const range of [
        { low: 0, high: 2.5 },
        { low: -1.3, high: 2.5 },
      ]) {
        const codes = mapCodes(range, levelsOf(width));
        const builder = new ModelBuilder();
        const x = builder.input('x', [8]);
        const y = builder.node('Identity', [builder.node('Neg', [builder.node('Neg', [x])])]);
        const { model } = builder.output(y);
        roundMaps(model, new Map([['Neg_1_out', codes]]));
        const [found = new Float32Array()] = await outputsOf(model, { x: float32Tensor([8], values) });
        const { low, high } = coveredRange(codes);
        for (const [at, value] of values.entries()) {
          const inside = Math.min(high, Math.max(low, value));
          expect(found[at]).toBeCloseTo(codes.scale * roundHalfToEven(inside / codes.scale), 5);
        }
      }
    }
  });

  test('weights fitted to their inputs lose less of the product than the nearest codes of the largest scale', () => {
    const [outputs, depth, rows] = [4, 12, 64];
    const weights = Float64Array.from(float32Values(noise([outputs, depth], 3)));
    const common = float32Values(noise([rows], 8));
    const inputs = Float64Array.from(
      float32Values(noise([rows, depth], 4)),
      (value, at) => value + 2 * (common[Math.floor(at / depth)] ?? 0),
    );
    const gram = new Float64Array(depth * depth);
    for (let row = 0; row < rows; row += 1)
      for (let i = 0; i < depth; i += 1)
        for (let j = 0; j < depth; j += 1)
          gram[i * depth + j] = (gram[i * depth + j] ?? 0) + (inputs[row * depth + i] ?? 0) * (inputs[row * depth + j] ?? 0);
    const error = (real: Float64Array): number => {
      let sum = 0;
      for (let row = 0; row < rows; row += 1) {
        for (let o = 0; o < outputs; o += 1) {
          let difference = 0;
          for (let k = 0; k < depth; k += 1)
            difference += ((real[o * depth + k] ?? 0) - (weights[o * depth + k] ?? 0)) * (inputs[row * depth + k] ?? 0);
          sum += difference * difference;
        }
      }
      return sum;
    };
    const matrix = { rows: weights, outputs, depth };
    for (const bits of [3, 4, 6]) {
      const scale = weights.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / weightLimit(bits);
      const nearest = weights.map((value) => scale * roundHalfToEven(value / scale));
      const codes = roundWeights(matrix, bits, { granularity: 'tensor', products: { gram, groups: 1, rows } });
      expect(Math.max(...codes.codes.map(Math.abs))).toBeLessThanOrEqual(weightLimit(bits));
      expect(error(realRows(codes, depth))).toBeLessThan(error(nearest));
    }
  });
});
