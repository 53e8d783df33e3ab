/** Every operator that the registry calls integer is computed on codes, and differs from float arithmetic by at most one step. */
import { expect, it } from 'vitest';
import { type Attribute, attributeOf, int64Tensor, type Model } from '../../../services/engine/ir/index.js';
import { distance, feedsFor, onEachRelease } from '../../support/ort-release.js';
import { QdqModel } from '../../support/qdq-model.js';

const input = { scale: 0.025, zeroPoint: 128 };
const image = [1, 4, 6, 6] as const;
const ints = (...values: number[]): Attribute => attributeOf.ints(values);

interface Kind {
  readonly build: (model: QdqModel, x: string) => string;
  readonly fused: string;
  readonly shape?: readonly number[];
  readonly output?: { readonly scale: number; readonly zeroPoint: number };
}

const moved = (build: Kind['build'], fused: string): Kind => ({ build, fused, output: input });
const conv = (attributes: Record<string, Attribute>, dims = [4, 4, 3, 3]): Kind['build'] => {
  return (model, x) => {
    const weight = model.weight('w', dims, { axis: 0 });
    const bias = model.bias('b', dims[0] ?? 1, { scales: weight.scales, input: input.scale });
    return model.node('Conv', [x, weight.value, bias], { attributes });
  };
};
const second = (model: QdqModel): string => model.pair(model.input('y', image), { scale: 0.03, zeroPoint: 120 });

const kinds: Readonly<Record<string, Kind>> = {
  Conv: { build: conv({ pads: ints(1, 1, 1, 1) }), fused: 'QLinearConv' },
  'depthwise Conv': { build: conv({ group: attributeOf.int(4) }, [4, 1, 3, 3]), fused: 'QLinearConv' },
  'dilated Conv': { build: conv({ dilations: ints(2, 2) }), fused: 'QLinearConv' },
  'one-dimensional Conv': { build: conv({}, [4, 4, 3]), fused: 'QLinearConv', shape: [1, 4, 12] },
  Gemm: {
    build: (model, x) => {
      const weight = model.weight('w', [16, 8], { axis: 1 });
      return model.node('Gemm', [x, weight.value, model.bias('b', 8, { scales: weight.scales, input: input.scale })]);
    },
    fused: 'com.microsoft:QGemm',
    shape: [3, 16],
  },
  MatMul: {
    build: (model, x) => model.node('MatMul', [x, model.weight('w', [16, 8], { axis: 1 }).value]),
    fused: 'QLinearMatMul',
    shape: [2, 3, 16],
  },
  Add: { build: (model, x) => model.node('Add', [x, second(model)]), fused: 'com.microsoft:QLinearAdd' },
  Mul: { build: (model, x) => model.node('Mul', [x, second(model)]), fused: 'com.microsoft:QLinearMul' },
  Concat: {
    build: (model, x) => model.node('Concat', [x, second(model)], { attributes: { axis: attributeOf.int(1) } }),
    fused: 'com.microsoft:QLinearConcat',
  },
  AveragePool: {
    build: (model, x) => model.node('AveragePool', [x], { attributes: { kernel_shape: ints(2, 2) } }),
    fused: 'com.microsoft:QLinearAveragePool',
  },
  GlobalAveragePool: { build: (model, x) => model.node('GlobalAveragePool', [x]), fused: 'com.microsoft:QLinearGlobalAveragePool' },
  LeakyRelu: { build: (model, x) => model.node('LeakyRelu', [x]), fused: 'com.microsoft:QLinearLeakyRelu' },
  Sigmoid: {
    build: (model, x) => model.node('Sigmoid', [x]),
    fused: 'com.microsoft:QLinearSigmoid',
    output: { scale: 1 / 255, zeroPoint: 0 },
  },
  Softmax: {
    build: (model, x) => model.node('Softmax', [x]),
    fused: 'com.microsoft:QLinearSoftmax',
    output: { scale: 1 / 256, zeroPoint: 0 },
  },
  MaxPool: moved((model, x) => model.node('MaxPool', [x], { attributes: { kernel_shape: ints(2, 2) } }), 'MaxPool'),
  Reshape: moved((model, x) => model.node('Reshape', [x, model.constant('shape', int64Tensor([2], [4, 36]))]), 'Reshape'),
  Flatten: moved((model, x) => model.node('Flatten', [x]), 'Flatten'),
  Transpose: moved((model, x) => model.node('Transpose', [x], { attributes: { perm: ints(0, 2, 3, 1) } }), 'Transpose'),
  Squeeze: moved((model, x) => model.node('Squeeze', [x, model.constant('axes', int64Tensor([1], [0]))]), 'Squeeze'),
  Unsqueeze: moved((model, x) => model.node('Unsqueeze', [x, model.constant('axes', int64Tensor([1], [0]))]), 'Unsqueeze'),
  Slice: moved(
    (model, x) =>
      model.node('Slice', [
        x,
        model.constant('from', int64Tensor([1], [1])),
        model.constant('to', int64Tensor([1], [3])),
        model.constant('axes', int64Tensor([1], [1])),
      ]),
    'Slice',
  ),
  DepthToSpace: moved((model, x) => model.node('DepthToSpace', [x], { attributes: { blocksize: attributeOf.int(2) } }), 'DepthToSpace'),
  'nearest Resize': moved(
    (model, x) =>
      model.node('Resize', [x, '', '', model.constant('sizes', int64Tensor([4], [1, 4, 12, 12]))], {
        attributes: { mode: attributeOf.string('nearest') },
      }),
    'Resize',
  ),
};

function modelOf({ build, shape = image, output = { scale: 0.06, zeroPoint: 120 } }: Kind): { model: Model; step: number } {
  const model = new QdqModel();
  const x = model.pair(model.input('x', shape), input);
  return { model: model.output(model.pair(build(model, x), output)).build(), step: output.scale };
}

onEachRelease((runtime) => {
  it.each(Object.entries(kinds))('%s works on codes, within one step of float arithmetic', async (_name, kind) => {
    const { model, step } = modelOf(kind);
    const operators = await runtime().operators(model);
    expect(operators[kind.fused]).toBe(1);
    expect(operators.DequantizeLinear).toBe(1);
    for (const seed of [1, 2, 3]) {
      const feeds = feedsFor(model, seed);
      const fused = await runtime().run(model, feeds);
      const plain = await runtime().run(model, feeds, { config: { 'session.disable_quant_qdq': '1' } });
      expect(distance(fused, plain)).toBeLessThanOrEqual(step * 1.001);
    }
  });
});
