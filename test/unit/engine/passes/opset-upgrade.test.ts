/** Raising the operator set keeps what every operator computes; onnxruntime runs the model before and after. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EngineError } from '../../../../services/engine/engine-errors.js';
import {
  type Attribute,
  attributeOf,
  cloneModel,
  float32Tensor,
  int64Tensor,
  type Model,
  Node,
  type Tensor,
  tensorOf,
  Value,
} from '../../../../services/engine/ir/index.js';
import { verifyModel } from '../../../../services/engine/ir/verify-graph.js';
import { decodeModelFile, encodeModel } from '../../../../services/engine/onnx/index.js';
import { adapters } from '../../../../services/engine/passes/opset-adapters.js';
import { upgradeOpset } from '../../../../services/engine/passes/opset-upgrade.js';
import { findSampleInputs } from '../../../../services/engine/runtime/sample-inputs.js';
import { buildGraph, buildModel, type GraphSpec, type NodeSpec } from '../../../support/build-model.js';
import { largestDifference, outputsOf, randomTensor, runtime } from './clean-up-oracle.js';

const { float, floats, int, ints, string } = attributeOf;

function modelOf(opset: number, spec: GraphSpec): Model {
  const model = buildModel(spec);
  model.opsetImports.set('', opset);
  model.irVersion = 8;
  return model;
}

interface Case {
  readonly opset: number;
  readonly node: Pick<NodeSpec, 'opType'> & Partial<NodeSpec>;
  /** Dims of the input x; [2, 3, 4, 5] by default. */
  readonly dims?: readonly number[];
  readonly constants?: Readonly<Record<string, Tensor>>;
  readonly outputType?: 'float32' | 'int64';
}

const attributes = (entries: Readonly<Record<string, Attribute>>) => entries;
const reduction = (opType: string, opset: number, axes?: readonly number[]): Case => ({
  opset,
  node: { opType, attributes: attributes({ ...(axes ? { axes: ints(axes) } : {}), keepdims: int(axes?.length === 1 ? 0 : 1) }) },
});
const channel = (seed: number) => randomTensor([3], seed);

/** Per adapter, the forms that the old version could take. */
const cases: Readonly<Record<string, readonly Case[]>> = {
  BatchNormalization: [7, 9].map((opset) => ({
    opset,
    node: { opType: 'BatchNormalization', inputs: ['x', 'scale', 'bias', 'mean', 'variance'] },
    constants: { scale: channel(2), bias: channel(3), mean: channel(4), variance: float32Tensor([3], [0.5, 1, 2]) },
  })),
  Clip: [
    { opset: 7, node: { opType: 'Clip', attributes: attributes({ min: float(-0.5), max: float(0.75) }) } },
    { opset: 10, node: { opType: 'Clip', attributes: attributes({ max: float(0.25) }) } },
    { opset: 10, node: { opType: 'Clip' } },
  ],
  DFT: [
    { opset: 17, node: { opType: 'DFT', attributes: attributes({ axis: int(2) }) }, dims: [2, 3, 8, 1] },
    { opset: 17, node: { opType: 'DFT', attributes: attributes({ onesided: int(1) }) }, dims: [2, 8, 1] },
  ],
  Dropout: [7, 10].map((opset) => ({ opset, node: { opType: 'Dropout', attributes: attributes({ ratio: float(0.3) }) } })),
  GridSample: ['bilinear', 'bicubic', 'nearest'].map((mode) => ({
    opset: 16,
    node: { opType: 'GridSample', inputs: ['x', 'grid'], attributes: attributes({ mode: string(mode) }) },
    constants: { grid: randomTensor([2, 3, 3, 2], 5) },
  })),
  GroupNormalization: [
    {
      opset: 18,
      node: { opType: 'GroupNormalization', inputs: ['x', 'scale', 'bias'], attributes: attributes({ num_groups: int(2) }) },
      dims: [2, 6, 4],
      constants: { scale: randomTensor([2], 2), bias: randomTensor([2], 3) },
    },
  ],
  ...Object.fromEntries(
    ['Softmax', 'LogSoftmax', 'Hardmax'].map((opType) => [
      opType,
      [
        { opset: 7, node: { opType } },
        { opset: 11, node: { opType, attributes: attributes({ axis: int(-2) }) } },
        { opset: 12, node: { opType, attributes: attributes({ axis: int(3) }) } },
        { opset: 11, node: { opType, attributes: attributes({ axis: int(-1) }) } },
        { opset: 8, node: { opType, attributes: attributes({ axis: int(0) }) } },
        { opset: 9, node: { opType }, dims: [2, 5] },
        { opset: 9, node: { opType }, dims: [2, 5, 1, 1] },
      ],
    ]),
  ),
  Pad: [
    { opset: 7, node: { opType: 'Pad', attributes: attributes({ pads: ints([0, 1, 0, 2, 1, 0, 0, 3]), value: float(1.5) }) } },
    { opset: 10, node: { opType: 'Pad', attributes: attributes({ pads: ints([0, 0, 1, -1, 0, 0, 1, 2]) }) } },
    { opset: 10, node: { opType: 'Pad', attributes: attributes({ pads: ints([0, 0, 1, 2, 0, 0, 1, 2]), mode: string('reflect') }) } },
  ],
  ...Object.fromEntries(
    ['L1', 'L2', 'LogSum', 'LogSumExp', 'Max', 'Mean', 'Min', 'Prod', 'SumSquare', 'Sum'].map((suffix) => {
      const opType = `Reduce${suffix}`;
      return [opType, [reduction(opType, 7, [1]), reduction(opType, 11, [-1, 0]), reduction(opType, 12), reduction(opType, 9, [3])]];
    }),
  ),
  Resize: [
    {
      opset: 10,
      node: { opType: 'Resize', inputs: ['x', 's'], attributes: attributes({ mode: string('linear') }) },
      constants: { s: float32Tensor([4], [1, 1, 1.7, 0.6]) },
    },
    { opset: 10, node: { opType: 'Resize', inputs: ['x', 's'] }, constants: { s: float32Tensor([4], [1, 1, 1.7, 2.3]) } },
    { opset: 10, node: { opType: 'Resize', inputs: ['x', 's'] }, constants: { s: float32Tensor([4], [1, 1, 0.7, 0.6]) } },
    {
      opset: 11,
      node: { opType: 'Resize', inputs: ['x', 'none', 'none', 'sizes'], attributes: attributes({ mode: string('cubic') }) },
      constants: { none: float32Tensor([0], []), sizes: int64Tensor([4], [2, 3, 7, 3]) },
    },
    {
      opset: 13,
      node: { opType: 'Resize', inputs: ['x', '', 'none', 'sizes'] },
      constants: { none: float32Tensor([0], []), sizes: int64Tensor([4], [2, 3, 7, 3]) },
    },
    {
      opset: 11,
      node: {
        opType: 'Resize',
        inputs: ['x', 'roi', 's'],
        attributes: attributes({ coordinate_transformation_mode: string('tf_crop_and_resize'), mode: string('linear') }),
      },
      constants: { roi: float32Tensor([8], [0, 0, 0.1, 0.2, 1, 1, 0.9, 0.7]), s: float32Tensor([4], [1, 1, 2, 2]) },
    },
  ],
  RoiAlign: [
    {
      opset: 10,
      node: { opType: 'RoiAlign', inputs: ['x', 'rois', 'batch'], attributes: attributes({ output_height: int(2), output_width: int(2) }) },
      constants: { rois: float32Tensor([2, 4], [0, 0, 3, 3, 1, 1.5, 4, 3.5]), batch: int64Tensor([2], [0, 1]) },
    },
  ],
  Scatter: [
    {
      opset: 9,
      node: { opType: 'Scatter', inputs: ['x', 'at', 'updates'], attributes: attributes({ axis: int(1) }) },
      dims: [2, 5],
      constants: { at: int64Tensor([2, 2], [0, 3, 4, 1]), updates: randomTensor([2, 2], 9) },
    },
  ],
  Slice: [
    {
      opset: 7,
      node: { opType: 'Slice', attributes: attributes({ starts: ints([1, -3]), ends: ints([2, 2n ** 63n - 1n]), axes: ints([1, 3]) }) },
    },
    { opset: 9, node: { opType: 'Slice', attributes: attributes({ starts: ints([0, 1]), ends: ints([1, -1]) }) } },
  ],
  Split: [
    { opset: 7, node: { opType: 'Split', outputs: ['y', 'z'], attributes: attributes({ axis: int(3), split: ints([2, 3]) }) } },
    { opset: 11, node: { opType: 'Split', outputs: ['y', 'z'], attributes: attributes({ axis: int(-2) }) } },
    { opset: 13, node: { opType: 'Split', outputs: ['y', 'z'], attributes: attributes({ axis: int(2) }) } },
  ],
  Squeeze: [
    { opset: 7, node: { opType: 'Squeeze', attributes: attributes({ axes: ints([1]) }) }, dims: [1, 1, 4] },
    { opset: 11, node: { opType: 'Squeeze' }, dims: [1, 1, 4] },
  ],
  TopK: [
    { opset: 7, node: { opType: 'TopK', outputs: ['y', 'at'], attributes: attributes({ k: int(3) }) } },
    { opset: 9, node: { opType: 'TopK', outputs: ['y', 'at'], attributes: attributes({ k: int(2), axis: int(1) }) } },
  ],
  Unsqueeze: [
    { opset: 7, node: { opType: 'Unsqueeze', attributes: attributes({ axes: ints([0, 3]) }) } },
    { opset: 11, node: { opType: 'Unsqueeze', attributes: attributes({ axes: ints([-1]) }) } },
  ],
  Upsample: ['nearest', 'linear'].flatMap((mode) => [
    { opset: 7, node: { opType: 'Upsample', attributes: attributes({ mode: string(mode), scales: floats([1, 1, 2, 1.5]) }) } },
    {
      opset: 9,
      node: { opType: 'Upsample', inputs: ['x', 's'], attributes: attributes({ mode: string(mode) }) },
      constants: { s: float32Tensor([4], [1, 1, 1.3, 2.6]) },
    },
  ]),
};

/** Operators that newer versions changed without an adapter: the claim is that nothing has to be done. */
const unchanged: readonly Case[] = [
  ...[0, 1].flatMap((included) =>
    ['AveragePool', 'MaxPool'].flatMap((opType) =>
      [0, 1].map((ceil) => ({
        opset: 10,
        node: {
          opType,
          attributes: attributes({
            kernel_shape: ints([3, 3]),
            strides: ints([2, 2]),
            pads: ints([1, 1, 1, 1]),
            ceil_mode: int(ceil),
            ...(opType === 'AveragePool' ? { count_include_pad: int(included) } : {}),
          }),
        },
      })),
    ),
  ),
  { opset: 7, node: { opType: 'AveragePool', attributes: attributes({ kernel_shape: ints([2, 3]), auto_pad: string('SAME_UPPER') }) } },
  {
    opset: 7,
    node: {
      opType: 'LpPool',
      attributes: attributes({ kernel_shape: ints([2, 3]), strides: ints([2, 2]), pads: ints([0, 1, 0, 1]) }),
    },
  },
  { opset: 7, node: { opType: 'MaxPool', attributes: attributes({ kernel_shape: ints([2, 2]) }) } },
  ...['SAME_UPPER', 'SAME_LOWER'].flatMap((pad) =>
    ['Conv', 'ConvTranspose'].map((opType) => ({
      opset: 7,
      node: { opType, inputs: ['x', 'w'], attributes: attributes({ auto_pad: string(pad), strides: ints([2, 2]) }) },
      constants: { w: randomTensor([3, 3, 3, 3], 4) },
    })),
  ),
  { opset: 7, node: { opType: 'DepthToSpace', attributes: attributes({ blocksize: int(2) }) }, dims: [1, 8, 2, 3] },
  { opset: 7, node: { opType: 'PRelu', inputs: ['x', 's'] }, constants: { s: randomTensor([3, 1, 1], 2) } },
  {
    opset: 7,
    node: { opType: 'Gemm', inputs: ['x', 'w', 'c'] },
    dims: [2, 3],
    constants: { w: randomTensor([3, 4], 2), c: randomTensor([4], 3) },
  },
  { opset: 7, node: { opType: 'Pow', inputs: ['x', 'two'] }, constants: { two: float32Tensor([], [2]) } },
  { opset: 7, node: { opType: 'Flatten', attributes: attributes({ axis: int(2) }) } },
  { opset: 7, node: { opType: 'Reshape', inputs: ['x', 'to'] }, constants: { to: int64Tensor([3], [0, -1, 5]) } },
  { opset: 7, node: { opType: 'ArgMax', attributes: attributes({ axis: int(2) }) }, outputType: 'int64' },
  { opset: 7, node: { opType: 'LpNormalization', attributes: attributes({ axis: int(1) }) } },
  ...['LSTM', 'GRU', 'RNN'].map((opType, at): Case => {
    const gates = [4, 3, 1][at] ?? 1;
    return {
      opset: 7,
      node: { opType, inputs: ['x', 'w', 'r'], outputs: ['y', 'h'], attributes: attributes({ hidden_size: int(4) }) },
      dims: [3, 2, 5],
      constants: { w: randomTensor([1, 4 * gates, 5], 2), r: randomTensor([1, 4 * gates, 4], 3) },
    };
  }),
];

function modelOfCase({ opset, node, dims = [2, 3, 4, 5], constants, outputType }: Case): Model {
  const outputs = node.outputs ?? ['y'];
  const spec: NodeSpec = { inputs: ['x'], outputs, ...node };
  return modelOf(opset, {
    inputs: [{ name: 'x', shape: dims }],
    outputs: outputs.map((name) => ({ name, shape: null, dataType: name === 'at' ? 'int64' : (outputType ?? 'float32') })),
    ...(constants ? { constants } : {}),
    nodes: [spec],
  });
}

/** Raised copies answer as the original does, for every given version; returns the last one. */
async function expectEqualAfter(model: Model, feeds: ReadonlyMap<string, Tensor>, versions: readonly number[]): Promise<Model> {
  const expected = await outputsOf(model, feeds);
  let last = model;
  for (const to of versions.filter((version) => version > model.opset)) {
    const raised = cloneModel(model);
    expect(upgradeOpset(raised, to).obstacle).toBeNull();
    verifyModel(raised);
    expect(raised.opset).toBe(to);
    expect(largestDifference(expected, await outputsOf(raised, feeds)), `version ${to}`).toBeLessThanOrEqual(1e-6);
    last = raised;
  }
  return last;
}

const versions = [9, 10, 11, 12, 13, 14, 18, 21, 25];

describe('adapters', () => {
  test('every adapter that is no refusal has a case here', () => {
    const { Scan: _, ...adapting } = adapters;
    const names = Object.keys(adapting).filter((name) => Object.keys(adapting[name] ?? {}).join() !== '22');
    expect(Object.keys(cases).sort()).toEqual(names.sort());
  });

  test('an operator that the runtime lacks in a later version is an obstacle there and only there', async () => {
    const [form] = cases.RoiAlign ?? [];
    const model = modelOfCase(form ?? { opset: 10, node: { opType: 'RoiAlign' } });
    expect(upgradeOpset(cloneModel(model), 21).obstacle).toBeNull();
    expect(upgradeOpset(model, 22).obstacle).toMatch(/node y \(RoiAlign\) cannot go to version 22: onnxruntime 1.30 has no kernel/);
  });

  test.each(Object.entries(cases))('%s answers the same in every later version', async (_, forms) => {
    for (const form of forms) {
      const feeds = new Map([['x', randomTensor(form.dims ?? [2, 3, 4, 5], 3)]]);
      await expectEqualAfter(modelOfCase(form), feeds, form.node.opType === 'RoiAlign' ? [16, 21] : versions);
    }
  });

  test('operators without an adapter answer the same in every later version', async () => {
    for (const form of unchanged) {
      await expectEqualAfter(modelOfCase(form), new Map([['x', randomTensor(form.dims ?? [2, 3, 4, 5], 3)]]), [11, 13, 19, 25]);
    }
  });

  test('Softmax of a tensor whose rank is not known keeps its matrix form', async () => {
    const model = modelOf(11, {
      inputs: [
        { name: 'x', shape: [2, 12] },
        { name: 'dims', dataType: 'int64', shape: ['rank'] },
      ],
      outputs: [{ name: 'y', shape: null }],
      nodes: [
        { opType: 'Reshape', inputs: ['x', 'dims'], outputs: ['r'] },
        { opType: 'Softmax', inputs: ['r'], outputs: ['y'] },
      ],
    });
    for (const dims of [
      [2, 12],
      [2, 3, 4],
      [4, 3, 2, 1],
    ]) {
      const feeds = new Map([
        ['x', randomTensor([2, 12], 7)],
        ['dims', int64Tensor([dims.length], dims)],
      ]);
      await expectEqualAfter(model, feeds, [13]);
    }
  });
});

/** x -> If (c) { Squeeze } else { ReduceSum } -> y, with the axes as attributes, as version 11 has them. */
function conditional(): Model {
  const model = modelOf(11, {
    inputs: [
      { name: 'x', shape: [1, 4] },
      { name: 'c', dataType: 'bool', shape: [] },
    ],
    outputs: [{ name: 'y', shape: null }],
    nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['outer'] }],
  });
  const { graph } = model;
  const outer = graph.nodes[0]?.outputs[0] ?? null;
  const known = new Map(outer ? [['outer', outer]] : []);
  const branch = (opType: string, output: string) =>
    buildGraph(
      {
        outputs: [{ name: output, shape: null }],
        nodes: [
          {
            opType,
            inputs: ['outer'],
            outputs: [output],
            attributes: { axes: ints([0]), ...(opType === 'ReduceSum' ? { keepdims: int(0) } : {}) },
          },
        ],
      },
      known,
    );
  const [y] = graph.outputs;
  graph.append(
    new Node({
      opType: 'If',
      name: 'choice',
      inputs: [graph.inputs[1] ?? null],
      outputs: [y ?? null],
      attributes: { then_branch: attributeOf.graph(branch('Squeeze', 't')), else_branch: attributeOf.graph(branch('ReduceSum', 'e')) },
    }),
  );
  return model;
}

describe('whole models', () => {
  test('branches are raised with the graph around them', async () => {
    for (const c of [0, 1]) {
      const feeds = new Map([
        ['x', randomTensor([1, 4], 2)],
        ['c', tensorOf('bool', [], Uint8Array.of(c))],
      ]);
      await expectEqualAfter(conditional(), feeds, [13, 21]);
    }
  });

  test('functions are raised, with constants in nodes as they have no initializers', async () => {
    const model = modelOf(17, {
      inputs: [{ name: 'x', shape: [2, 3] }],
      outputs: [{ name: 'y', shape: null }],
      nodes: [{ opType: 'Sums', domain: 'local', inputs: ['x'], outputs: ['y'] }],
    });
    const x = new Value('fx');
    const y = new Value('fy');
    const body = buildGraph({ outputs: [], nodes: [] });
    body.inputs.push(x);
    body.append(new Node({ opType: 'ReduceMax', name: 'm', inputs: [x], outputs: [y], attributes: { axes: ints([1]) } }));
    body.outputs.push(y);
    model.opsetImports.set('local', 1);
    const shared = { overload: '', attributeNames: [], defaultAttributes: new Map() };
    model.functions.push({ name: 'Sums', domain: 'local', opsetImports: new Map([['', 17]]), body, ...shared });
    const raised = await expectEqualAfter(model, new Map([['x', randomTensor([2, 3], 2)]]), [18, 21]);
    expect(raised.functions[0]?.opsetImports.get('')).toBe(21);
  });

  test('a file before IR version 4 gets the IR version of its operator set, and constants that no caller has to feed', async () => {
    const model = modelOf(8, {
      inputs: [{ name: 'x', shape: [1, 3] }],
      outputs: [{ name: 'y', shape: null }],
      constants: { w: randomTensor([3], 4) },
      nodes: [
        { opType: 'Add', inputs: ['x', 'w'], outputs: ['s'] },
        { opType: 'Unsqueeze', inputs: ['s'], outputs: ['y'], attributes: { axes: ints([0]) } },
      ],
    });
    model.irVersion = 3;
    for (const value of model.graph.initializers.keys()) model.graph.inputs.push(value);
    const raised = await expectEqualAfter(model, new Map([['x', randomTensor([1, 3], 2)]]), [13]);
    expect(raised.irVersion).toBe(7);
    expect(raised.graph.inputs.map(({ name }) => name)).toEqual(['x']);
  });

  const chains = fc.array(fc.constantFrom('Softmax', 'Clip', 'ReduceMean', 'Unsqueeze', 'Pad', 'Slice', 'Dropout'), {
    minLength: 1,
    maxLength: 6,
  });

  test('random chains answer the same', async () => {
    const forms: Readonly<Record<string, Readonly<Record<string, Attribute>>>> = {
      Softmax: {},
      Clip: { min: float(-1), max: float(0.5) },
      ReduceMean: { axes: ints([0]), keepdims: int(1) },
      Unsqueeze: { axes: ints([1]) },
      Pad: { pads: ints([0, 0, 1, 0]), value: float(0.5) },
      Slice: { starts: ints([0]), ends: ints([2]), axes: ints([1]) },
      Dropout: { ratio: float(0.2) },
    };
    await fc.assert(
      fc.asyncProperty(chains, fc.integer({ min: 7, max: 9 }), async (operators, opset) => {
        // Pad is written for a matrix; once an axis was added it has none to work on.
        const kept = operators.filter((opType, at) => opType !== 'Pad' || !operators.slice(0, at).includes('Unsqueeze'));
        const nodes = kept.map((opType, at) => ({
          opType,
          inputs: [at === 0 ? 'x' : `v${at - 1}`],
          outputs: [at === kept.length - 1 ? 'y' : `v${at}`],
          attributes: forms[opType] ?? {},
        }));
        fc.pre(nodes.length > 0);
        const model = modelOf(opset, { inputs: [{ name: 'x', shape: [3, 4] }], outputs: [{ name: 'y', shape: null }], nodes });
        await expectEqualAfter(model, new Map([['x', randomTensor([3, 4], 5)]]), [13, 21]);
      }),
      { numRuns: 25 },
    );
  });
});

describe('obstacles', () => {
  const refused: readonly [string, Case, RegExp][] = [
    ['a mask that is read', { opset: 9, node: { opType: 'Dropout', outputs: ['y', 'mask'] } }, /node y \(Dropout\).*mask is read/],
    ['an operator set below 7', { opset: 6, node: { opType: 'Relu' } }, /operator set 6/],
    ['an operator that nobody knows', { opset: 11, node: { opType: 'Mystery' } }, /operator Mystery is not known/],
    [
      'a removed mode',
      {
        opset: 11,
        node: { opType: 'Resize', inputs: ['x', '', 's'], attributes: { coordinate_transformation_mode: string('tf_half_pixel_for_nn') } },
        constants: { s: float32Tensor([4], [1, 1, 2, 2]) },
      },
      /tf_half_pixel_for_nn/,
    ],
    ['normalization of each position', { opset: 8, node: { opType: 'BatchNormalization', attributes: { spatial: int(0) } } }, /spatial/],
  ];

  test.each(refused)('%s is named, and the model is left as it was', (_, form, reason) => {
    const model = modelOfCase(form);
    const before = encodeModel(model);
    const { changed, obstacle } = upgradeOpset(model, 13);
    expect(obstacle).toMatch(reason);
    expect(changed).toEqual([]);
    expect(Buffer.compare(encodeModel(model), before)).toBe(0);
  });

  test('a model that has the version is left as it is', () => {
    const model = modelOfCase({ opset: 17, node: { opType: 'Relu' } });
    expect(upgradeOpset(model, 13)).toEqual({ changed: [], obstacle: null });
    expect(model.opset).toBe(17);
  });
});

const data = process.env.LATHE_DATA ?? join(import.meta.dirname, '../../../../../shared/data');

function modelFiles(isIncluded: (file: string) => boolean): string[] {
  if (!existsSync(data)) return [];
  return readdirSync(data, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.onnx') && isIncluded(file))
    .sort();
}

/** The model with feeds that it runs with; undefined when it cannot be read, loaded or fed. */
async function runnable(file: string): Promise<{ model: Model; feeds: ReadonlyMap<string, Tensor> } | undefined> {
  try {
    const model = decodeModelFile(join(data, file));
    const session = await runtime.open(model, { optimization: 'disabled' });
    try {
      return { model, feeds: (await findSampleInputs(model, session)).make(1) };
    } finally {
      await session.close();
    }
  } catch (error) {
    if (error instanceof EngineError) return undefined;
    throw error;
  }
}

describe.skipIf(!existsSync(data))('real models', () => {
  test.each(modelFiles((file) => !file.startsWith('onnx-edge')))('%s answers the same at version 21', async (file) => {
    const found = await runnable(file);
    expect(found).toBeDefined();
    if (found) await expectEqualAfter(found.model, found.feeds, [21]);
  });

  test.each(modelFiles((file) => file.startsWith('onnx-edge')))('%s answers the same at version 21, if it runs at all', async (file) => {
    const found = await runnable(file);
    if (found && found.model.opset >= 7) await expectEqualAfter(found.model, found.feeds, [21]);
  });
});
