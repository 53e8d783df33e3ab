/** Fake quantization against the definition of the straight-through estimator and of the learned step size. */
import { describe, expect, test } from 'vitest';
import { vjp } from '../../../../services/engine/autodiff/index.js';
import {
  attributeOf,
  cloneModel,
  type DataType,
  float32Tensor,
  float32Values,
  GraphWriter,
  type Model,
  NameAuthority,
  type Tensor,
  tensorOf,
} from '../../../../services/engine/ir/index.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

interface Form {
  readonly dims: readonly number[];
  readonly scales: readonly number[];
  readonly scaleDims: readonly number[];
  readonly axis?: number;
  readonly type: DataType;
  readonly zeroPoint: number;
  readonly range: readonly [number, number];
  readonly opset?: number;
}

const forms: readonly Form[] = [
  { dims: [4, 9], scales: [0.006], scaleDims: [], type: 'uint8', zeroPoint: 100, range: [0, 255] },
  { dims: [4, 9], scales: [0.004], scaleDims: [1], type: 'int8', zeroPoint: 0, range: [-128, 127] },
  { dims: [3, 2, 5], scales: [0.002, 0.004, 0.2], scaleDims: [3], axis: 0, type: 'int8', zeroPoint: 0, range: [-128, 127] },
  { dims: [2, 3, 4, 2], scales: [0.003, 0.004, 0.01], scaleDims: [3], type: 'uint8', zeroPoint: 128, range: [0, 255] },
  { dims: [2, 5, 3], scales: [0.003, 0.004, 0.01], scaleDims: [3], axis: -1, type: 'int8', zeroPoint: 3, range: [-128, 127] },
  { dims: [6, 6], scales: [0.1], scaleDims: [], type: 'int4', zeroPoint: 0, range: [-8, 7] },
  { dims: [6, 6], scales: [0.08], scaleDims: [], type: 'uint4', zeroPoint: 7, range: [0, 15] },
  { dims: [4, 9], scales: [2e-5], scaleDims: [], type: 'int16', zeroPoint: 0, range: [-32768, 32767] },
  { dims: [2, 3, 5], scales: [2e-5, 1e-5, 3e-5], scaleDims: [3], type: 'uint16', zeroPoint: 30000, range: [0, 65535] },
  { dims: [6, 6], scales: [0.4], scaleDims: [], type: 'int2', zeroPoint: 0, range: [-2, 1], opset: 25 },
  { dims: [6, 6], scales: [0.4], scaleDims: [], type: 'uint2', zeroPoint: 1, range: [0, 3], opset: 25 },
];

/** `zeroPoint` once per scale, in the bytes of the type; below a byte, one alone fills it with zeros. */
function zeroPoints({ type, scaleDims, zeroPoint }: Form): Tensor {
  const count = scaleDims.reduce((a, b) => a * b, 1);
  return tensorOf(type, scaleDims, type.endsWith('16') ? new Uint16Array(count).fill(zeroPoint) : new Uint8Array(count).fill(zeroPoint));
}

function fakeQuantized(form: Form): Model {
  const { dims, scaleDims, axis, opset = 21 } = form;
  const attributes = axis === undefined ? {} : { axis: attributeOf.int(axis) };
  const model = buildModel({
    inputs: [
      { name: 'x', shape: dims },
      { name: 's', shape: scaleDims },
    ],
    outputs: [{ name: 'y', shape: dims }],
    constants: { z: zeroPoints(form) },
    nodes: [
      { opType: 'QuantizeLinear', inputs: ['x', 's', 'z'], outputs: ['q'], attributes },
      { opType: 'DequantizeLinear', inputs: ['q', 's', 'z'], outputs: ['y'], attributes },
    ],
  });
  model.opsetImports.set('', opset);
  return model;
}

const roundHalfToEven = (value: number): number => {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
};

/** Learned step size, element by element (Esser et al. 2020, equations 3 and 5). */
function expected({ dims, scales, axis, zeroPoint, range }: Form, x: Float32Array, g: Float32Array) {
  const at = axis === undefined ? 1 : axis < 0 ? axis + dims.length : axis;
  const inner = dims.slice(at + 1).reduce((a, b) => a * b, 1);
  const dx = new Float32Array(x.length);
  const ds = new Float32Array(scales.length);
  for (const [index, value] of x.entries()) {
    const channel = scales.length === 1 ? 0 : Math.floor(index / inner) % (dims[at] ?? 1);
    const v = value / (scales[channel] ?? 1);
    const [low, high] = [range[0] - zeroPoint, range[1] - zeroPoint];
    const slope = v < low ? low : v > high ? high : roundHalfToEven(v) - v;
    dx[index] = (g[index] ?? 0) * (v < low || v > high ? 0 : 1);
    ds[channel] = (ds[channel] ?? 0) + (g[index] ?? 0) * slope;
  }
  return { dx, ds };
}

async function gradientsOf(
  model: Model,
  feeds: Readonly<Record<string, Tensor>>,
  cotangent: Tensor,
): Promise<Record<string, Float32Array>> {
  const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
  const copy = cloneModel(model);
  const names = new NameAuthority(copy);
  const [y] = copy.graph.outputs;
  if (!y) throw new Error('no output');
  const write = new GraphWriter(copy, names);
  const wrt = copy.graph.inputs.filter(({ name }) => name in feeds);
  const shapes = new Map<string, readonly number[]>([
    ['y', cotangent.dims],
    ...Object.entries(feeds).map(([k, v]) => [k, v.dims] as const),
  ]);
  const gradients = vjp({ model: copy, names, shapes, cotangents: new Map([[y, write.constant(cotangent)]]), wrt });
  for (const value of gradients.values()) value.type = { kind: 'tensor', dataType: 'float32', shape: null };
  copy.graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...gradients.values());
  const session = await runtime.open(copy, { config: { 'session.disable_quant_qdq': '1', 'session.disable_double_qdq_remover': '1' } });
  try {
    const found = await session.run(new Map(Object.entries(feeds)));
    return Object.fromEntries([...gradients].map(([value, { name }]) => [value.name, float32Values(found.get(name) as Tensor)]));
  } finally {
    await session.close();
  }
}

describe('QuantizeLinear and DequantizeLinear', () => {
  test.each(forms)('$type of $dims, scales $scales', async (form) => {
    for (const seed of [1, 2, 3]) {
      const x = weights(form.dims, seed);
      const g = weights(form.dims, seed + 10);
      const { x: dx, s: ds } = await gradientsOf(fakeQuantized(form), { x, s: float32Tensor(form.scaleDims, form.scales) }, g);
      const { dx: slopes, ds: sums } = expected(form, float32Values(x), float32Values(g));
      expect(slopes.includes(0)).toBe(true);
      expect(dx).toEqual(slopes);
      for (const [channel, sum] of sums.entries()) expect(Math.abs((ds?.[channel] ?? 0) - sum)).toBeLessThan(0.005 + 1e-6 * Math.abs(sum));
    }
  });

  test('a step of whole scales moves y by as much: central differences agree', async () => {
    const form: Form = { dims: [5, 5], scales: [0.01], scaleDims: [], type: 'uint8', zeroPoint: 100, range: [0, 255] };
    const model = fakeQuantized(form);
    const feeds = { x: weights(form.dims, 4), s: float32Tensor([], [0.01]) };
    const [checked] = await checkGradients({ model, feeds, wrt: ['x'], step: 0.01 });
    expect(checked?.largest).toBeGreaterThan(0.1);
    expect(checked?.error).toBeLessThan(2e-3);
  });

  test('the scale of constant integers', async () => {
    const model = buildModel({
      inputs: [{ name: 's', shape: [3] }],
      outputs: [{ name: 'y', shape: [3, 4] }],
      constants: {
        q: tensorOf(
          'int8',
          [3, 4],
          Int8Array.from({ length: 12 }, (_, at) => 3 * at - 10),
        ),
        z: tensorOf('int8', [3], Int8Array.of(1, -2, 0)),
      },
      nodes: [{ opType: 'DequantizeLinear', inputs: ['q', 's', 'z'], outputs: ['y'], attributes: { axis: attributeOf.int(0) } }],
    });
    const [checked] = await checkGradients({ model, feeds: { s: float32Tensor([3], [0.1, 0.3, 0.2]) } });
    expect(checked?.largest).toBeGreaterThan(1);
    expect(checked?.error).toBeLessThan(1e-3);
  });

  test('integers of another scale are refused', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [2] }],
      outputs: [{ name: 'y', shape: [2] }],
      constants: { s: float32Tensor([], [0.1]), other: float32Tensor([], [0.2]), z: tensorOf('int8', [], Int8Array.of(0)) },
      nodes: [
        { opType: 'QuantizeLinear', inputs: ['x', 's', 'z'], outputs: ['q'] },
        { opType: 'DequantizeLinear', inputs: ['q', 'other', 'z'], outputs: ['y'] },
      ],
    });
    await expect(checkGradients({ model, feeds: { x: weights([2], 1) } })).rejects.toThrow(
      'DequantizeLinear (node "y") has no gradient behind a QuantizeLinear of another scale',
    );
  });
});
