/** On a processor with AVX2 and without VNNI the emulated kernel must equal the real one bit for bit; elsewhere nothing is compared. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { openEmulated } from '../../services/engine/emulation/index.js';
import {
  type Attribute,
  attributeOf,
  elementCount,
  float32Tensor,
  type Model,
  type Tensor,
  tensorOf,
} from '../../services/engine/ir/index.js';
import { describeCpu } from '../../services/engine/runtime/cpu.js';
import { createOrtRuntime } from '../../services/engine/runtime/ort-session.js';
import { buildModel, type NodeSpec, type TensorSpec } from '../support/build-model.js';

const scratch = mkdtempSync(join(tmpdir(), 'lathe-kernel-'));
const runtime = createOrtRuntime({ scratch, threads: 1 });
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Numbers in [0, 1) that look random and are equal for equal seeds. */
function randomNumbers(seed: number): () => number {
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) / 2 ** 24;
  };
}

class Values {
  private readonly next: () => number;

  constructor(seed: number) {
    this.next = randomNumbers(seed);
  }

  /** Mostly extreme codes, so that many pairs saturate. */
  uint8(dims: readonly number[]): Tensor {
    return tensorOf(
      'uint8',
      dims,
      Uint8Array.from({ length: elementCount(dims) }, () => Math.min(255, Math.floor(this.next() * 400))),
    );
  }

  int8(dims: readonly number[], low = -127): Tensor {
    const code = (): number => Math.max(low, Math.min(127, Math.floor((this.next() - 0.5) * 400)));
    return tensorOf('int8', dims, Int8Array.from({ length: elementCount(dims) }, code));
  }

  int32(dims: readonly number[]): Tensor {
    return tensorOf(
      'int32',
      dims,
      Int32Array.from({ length: elementCount(dims) }, () => Math.floor((this.next() - 0.5) * 200_000)),
    );
  }

  floats(dims: readonly number[], size: number, offset = 0): Tensor {
    return float32Tensor(
      dims,
      Array.from({ length: elementCount(dims) }, () => offset + size * (this.next() - 0.5)),
    );
  }

  scales(dims: readonly number[], typical: number): Tensor {
    return float32Tensor(
      dims,
      Array.from({ length: elementCount(dims) }, () => typical * (0.5 + this.next())),
    );
  }
}

async function outputsOf(model: Model, feeds: ReadonlyMap<string, Tensor>, isEmulated: boolean): Promise<Uint8Array[]> {
  const session = isEmulated ? await openEmulated(runtime, model, { scratch }) : await runtime.open(model);
  try {
    return [...(await session.run(feeds)).values()].map((tensor) => tensor.data.read().slice());
  } finally {
    await session.close();
  }
}

async function expectBitEquality(model: Model, feeds: Record<string, Tensor>): Promise<void> {
  const given = new Map(Object.entries(feeds));
  expect(await outputsOf(model, given, true)).toEqual(await outputsOf(model, given, false));
}

const uint8Scalar = (code: number): Tensor => tensorOf('uint8', [], Uint8Array.of(code));
const int8Scalar = (code: number): Tensor => tensorOf('int8', [], Int8Array.of(code));

interface Convolution {
  readonly seed: number;
  readonly spatial: readonly number[];
  readonly kernel: readonly number[];
  readonly group: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly stride: number;
  readonly dilation: number;
  readonly pad: number;
  readonly batch: number;
  readonly zeroPoint: number;
  readonly isPerChannel: boolean;
  readonly hasBias: boolean;
  readonly autoPad: string;
}

const convolution = fc.record({ rank: fc.integer({ min: 1, max: 3 }), seed: fc.nat(1e6) }).chain(({ rank, seed }) =>
  fc.record({
    seed: fc.constant(seed),
    spatial: fc.array(fc.integer({ min: 5, max: 9 }), { minLength: rank, maxLength: rank }),
    kernel: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: rank, maxLength: rank }),
    group: fc.constantFrom(1, 1, 1, 2, 3),
    inputs: fc.constantFrom(1, 2, 3, 4, 5, 8),
    outputs: fc.constantFrom(1, 2, 3, 8, 16, 17),
    stride: fc.integer({ min: 1, max: 2 }),
    dilation: fc.integer({ min: 1, max: 2 }),
    pad: fc.integer({ min: 0, max: 2 }),
    batch: fc.integer({ min: 1, max: 2 }),
    zeroPoint: fc.constantFrom(0, 0, 3, 128, 255),
    isPerChannel: fc.boolean(),
    hasBias: fc.boolean(),
    autoPad: fc.constantFrom('NOTSET', 'NOTSET', 'VALID', 'SAME_UPPER', 'SAME_LOWER'),
  }),
);

function convolutionAttributes({ kernel, group, stride, dilation, pad, autoPad }: Convolution): Record<string, Attribute> {
  const attributes: Record<string, Attribute> = {
    group: attributeOf.int(group),
    strides: attributeOf.ints(kernel.map(() => stride)),
    // The runtime takes no dilation together with SAME padding.
    dilations: attributeOf.ints(kernel.map(() => (autoPad.startsWith('SAME') ? 1 : dilation))),
  };
  if (autoPad === 'NOTSET') return { ...attributes, pads: attributeOf.ints([...kernel, ...kernel].map(() => pad)) };
  return { ...attributes, auto_pad: attributeOf.string(autoPad) };
}

function convolutionModel(given: Convolution): { model: Model; x: Tensor } {
  const values = new Values(given.seed);
  const { group, kernel, isPerChannel, zeroPoint } = given;
  const [channels, outputs] = [given.inputs * group, given.outputs * group];
  const model = buildModel({
    inputs: [{ name: 'x', dataType: 'uint8', shape: [null, channels, ...given.spatial] }],
    outputs: [{ name: 'y', dataType: 'uint8', shape: null }],
    constants: {
      xs: float32Tensor([], [0.02]),
      xz: uint8Scalar(zeroPoint),
      w: values.int8([outputs, given.inputs, ...kernel]),
      ws: values.scales(isPerChannel ? [outputs] : [], 0.01),
      wz: isPerChannel ? tensorOf('int8', [outputs], new Int8Array(outputs)) : int8Scalar(0),
      ys: float32Tensor([], [0.02 * Math.sqrt(given.inputs * elementCount(kernel))]),
      yz: uint8Scalar(100),
      b: values.int32([outputs]),
    },
    nodes: [
      {
        opType: 'QLinearConv',
        inputs: ['x', 'xs', 'xz', 'w', 'ws', 'wz', 'ys', 'yz', ...(given.hasBias ? ['b'] : [])],
        outputs: ['y'],
        attributes: convolutionAttributes(given),
      },
    ],
  });
  return { model, x: values.uint8([given.batch, channels, ...given.spatial]) };
}

interface Product {
  readonly seed: number;
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
  readonly zeroPoint: number;
  readonly weightZeroPoint: number;
  readonly isPerChannel: boolean;
  readonly hasBias: boolean;
  readonly isTransposed: boolean;
  readonly isConstant: boolean;
  readonly stack: readonly number[];
}

const product: fc.Arbitrary<Product> = fc.record({
  seed: fc.nat(1e6),
  rows: fc.constantFrom(1, 1, 2, 5, 9),
  depth: fc.integer({ min: 1, max: 40 }),
  columns: fc.constantFrom(1, 3, 8, 16, 17, 33),
  zeroPoint: fc.constantFrom(0, 7, 128),
  weightZeroPoint: fc.constantFrom(0, 0, 5, -20),
  isPerChannel: fc.boolean(),
  hasBias: fc.boolean(),
  isTransposed: fc.boolean(),
  isConstant: fc.boolean(),
  stack: fc.constantFrom([], [], [2], [2, 3]),
});

type Operator = 'QLinearMatMul' | 'MatMulInteger' | 'MatMulIntegerToFloat' | 'DynamicQuantizeMatMul' | 'QGemm' | 'QGemm to float';

const microsoft = 'com.microsoft';

function productNode(operator: Operator, { hasBias, isTransposed }: Product): NodeSpec {
  const attributes = { transB: attributeOf.int(isTransposed ? 1 : 0) };
  const nodes: Record<Operator, NodeSpec> = {
    QLinearMatMul: { opType: 'QLinearMatMul', inputs: ['x', 'xs', 'xz', 'w', 'ws', 'wz', 'ys', 'yz'], outputs: ['y'] },
    MatMulInteger: { opType: 'MatMulInteger', inputs: ['x', 'w', 'xz', 'wz'], outputs: ['y'] },
    MatMulIntegerToFloat: {
      opType: 'MatMulIntegerToFloat',
      domain: microsoft,
      inputs: ['x', 'w', 'xs', 'ws', 'xz', 'wz', ...(hasBias ? ['fb'] : [])],
      outputs: ['y'],
    },
    DynamicQuantizeMatMul: {
      opType: 'DynamicQuantizeMatMul',
      domain: microsoft,
      inputs: ['x', 'w', 'ws', 'wz', ...(hasBias ? ['fb'] : [])],
      outputs: ['y'],
    },
    QGemm: {
      opType: 'QGemm',
      domain: microsoft,
      inputs: ['x', 'xs', 'xz', 'w', 'ws', 'wz', hasBias ? 'ib' : '', 'ys', 'yz'],
      outputs: ['y'],
      attributes,
    },
    'QGemm to float': {
      opType: 'QGemm',
      domain: microsoft,
      inputs: ['x', 'xs', 'xz', 'w', 'ws', 'wz', ...(hasBias ? ['ib'] : [])],
      outputs: ['y'],
      attributes,
    },
  };
  return nodes[operator];
}

function productModel(operator: Operator, given: Product): { model: Model; feeds: Record<string, Tensor> } {
  const values = new Values(given.seed);
  const isGemm = operator.startsWith('QGemm');
  const { rows, depth, columns, isPerChannel } = given;
  const stack = isGemm ? [] : given.stack;
  const weightDims = isGemm && given.isTransposed ? [columns, depth] : [depth, columns];
  const perChannel = isPerChannel ? [columns] : [];
  const w = values.int8(weightDims, -128);
  const isFloat = operator === 'DynamicQuantizeMatMul';
  const zeroPoints = new Int8Array(elementCount(perChannel)).fill(given.weightZeroPoint);
  const inputs: TensorSpec[] = [{ name: 'x', dataType: isFloat ? 'float32' : 'uint8', shape: [...stack.map(() => null), null, depth] }];
  if (!given.isConstant) inputs.push({ name: 'w', dataType: 'int8', shape: weightDims });
  const outputType = { QLinearMatMul: 'uint8', QGemm: 'uint8', MatMulInteger: 'int32' } as const;
  const model = buildModel({
    inputs,
    outputs: [{ name: 'y', dataType: operator in outputType ? outputType[operator as keyof typeof outputType] : 'float32', shape: null }],
    constants: {
      ...{
        xs: float32Tensor([], [0.0213]),
        xz: uint8Scalar(given.zeroPoint),
        ys: float32Tensor([], [0.051 * Math.sqrt(depth)]),
        yz: uint8Scalar(120),
      },
      ...{ ws: values.scales(perChannel, 0.01), wz: tensorOf('int8', perChannel, zeroPoints) },
      ...{ fb: values.floats([columns], 3), ib: values.int32([columns]) },
      ...(given.isConstant ? { w } : {}),
    },
    nodes: [productNode(operator, given)],
  });
  const dims = [...stack, rows, depth];
  const x = isFloat ? values.floats(dims, 4, given.zeroPoint === 0 ? 2.5 : 0.3) : values.uint8(dims);
  return { model, feeds: { x, ...(given.isConstant ? {} : { w }) } };
}

describe.runIf(describeCpu().u8s8Saturates)('the emulated kernel equals the real one bit for bit', () => {
  it('in convolutions of one to three dimensions', async () => {
    await fc.assert(
      fc.asyncProperty(convolution, async (given) => {
        const { model, x } = convolutionModel(given);
        await expectBitEquality(model, { x });
      }),
      { numRuns: 60 },
    );
  });

  const operators: readonly Operator[] = [
    'QLinearMatMul',
    'MatMulInteger',
    'MatMulIntegerToFloat',
    'DynamicQuantizeMatMul',
    'QGemm',
    'QGemm to float',
  ];
  it.each(operators)('in %s', async (operator) => {
    await fc.assert(
      fc.asyncProperty(product, async (given) => {
        const { model, feeds } = productModel(operator, given);
        await expectBitEquality(model, feeds);
      }),
      { numRuns: 40 },
    );
  });
});
