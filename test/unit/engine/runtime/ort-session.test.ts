/** The onnxruntime adapter: exact exchange of all element types, and nothing unfit reaches the native library. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { EngineError } from '../../../../services/engine/engine-errors.js';
import {
  attributeOf,
  bytesInMemory,
  type DataType,
  dataTypes,
  float32Tensor,
  int64Tensor,
  Value,
} from '../../../../services/engine/ir/index.js';
import { encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { timedConfig } from '../../../../services/engine/runtime/execution-session.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { buildModel, classifier } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

const exchanged: readonly DataType[] = [
  'float32',
  'float64',
  'float16',
  'int8',
  'uint8',
  'int16',
  'uint16',
  'int32',
  'uint32',
  'int64',
  'uint64',
  'bool',
];

const identity = (dataType: DataType, shape: readonly (number | string | null)[] | null) =>
  buildModel({
    inputs: [{ name: 'x', dataType, shape }],
    outputs: [{ name: 'y', dataType, shape }],
    nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
  });

async function codeOf(action: Promise<unknown>): Promise<string> {
  try {
    await action;
    return 'no error';
  } catch (error) {
    return error instanceof EngineError ? error.code : String(error);
  }
}

describe('exchange of tensors', () => {
  test.each(exchanged)('%s elements come back bit for bit, from an unaligned view too', async (dataType) => {
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    const session = await runtime.open(identity(dataType, [3]));
    const width = dataTypes[dataType].bits / 8;
    const bytes =
      dataType === 'bool' ? Uint8Array.of(1, 0, 1) : Uint8Array.from({ length: 3 * width }, (_, index) => (index * 37 + 11) % 113);
    const unaligned = new Uint8Array(bytes.length + 1);
    unaligned.set(bytes, 1);
    for (const data of [bytes, unaligned.subarray(1)]) {
      const outputs = await session.run(new Map([['x', { dataType, dims: [3], data: bytesInMemory(data) }]]));
      expect(Buffer.from(outputs.get('y')?.data.read() ?? [])).toEqual(Buffer.from(bytes));
      expect(outputs.get('y')).toMatchObject({ dataType, dims: [3] });
    }
    await session.close();
  });

  test('strings come back as they were', async () => {
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    const session = await runtime.open(identity('string', [2]));
    const strings = ['ä', 'two words'].map((text) => new TextEncoder().encode(text));
    const outputs = await session.run(
      new Map([['x', { dataType: 'string' as const, dims: [2], data: bytesInMemory(new Uint8Array()), strings }]]),
    );
    expect(outputs.get('y')?.strings?.map((text) => new TextDecoder().decode(text))).toEqual(['ä', 'two words']);
    await session.close();
  });
});

describe('feeds', () => {
  const row = (values: number) => float32Tensor([1, values], new Float32Array(values));

  test.each([
    ['a missing input', new Map()],
    [
      'an unknown name',
      new Map([
        ['x', row(16)],
        ['z', row(16)],
      ]),
    ],
    ['another element type', new Map([['x', int64Tensor([1, 16], new Array(16).fill(0))]])],
    ['another rank', new Map([['x', float32Tensor([16], new Float32Array(16))]])],
    ['another fixed size', new Map([['x', row(15)]])],
    [
      'fewer bytes than the dims promise',
      new Map([['x', { dataType: 'float32' as const, dims: [1, 16], data: bytesInMemory(new Uint8Array(8)) }]]),
    ],
  ])('%s is refused before the runtime sees it', async (_, feeds) => {
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    const session = await runtime.open(classifier());
    expect(await codeOf(session.run(feeds))).toBe('dataset_invalid');
    await session.close();
  });

  /** A rank-0 tensor there aborts the process for some models (onnxruntime.md 5.6). */
  test('a scalar for an input of undeclared rank is refused', async () => {
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    const session = await runtime.open(identity('float32', null));
    expect(await codeOf(session.run(new Map([['x', float32Tensor([], [1])]])))).toBe('dataset_invalid');
    expect((await session.run(new Map([['x', float32Tensor([2], [1, 2])]]))).get('y')?.dims).toEqual([2]);
    await session.close();
  });
});

describe('models that the border cannot carry', () => {
  test.each(['bfloat16', 'float8e4m3fn', 'int4', 'complex64'] as const)('%s inputs are refused with the reason', async (dataType) => {
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    await expect(runtime.open(identity(dataType, [2]))).rejects.toMatchObject({
      code: 'model_unsupported',
      message: expect.stringContaining(dataType),
    });
  });

  test('sequence outputs are refused with the reason', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [2] }],
      outputs: [{ name: 's', shape: null }],
      nodes: [{ opType: 'SequenceConstruct', inputs: ['x'], outputs: ['s'] }],
    });
    const output = model.graph.outputs[0] ?? new Value('');
    output.type = { kind: 'sequence', element: { kind: 'tensor', dataType: 'float32', shape: [2] } };
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    await expect(runtime.open(model)).rejects.toMatchObject({ code: 'model_unsupported', message: expect.stringContaining('sequence') });
  });

  test('an output without a declared type is described by the runtime', async () => {
    const model = classifier();
    const output = model.graph.outputs[0] ?? new Value('');
    output.type = null;
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    const session = await runtime.open(model);
    expect(session.outputs).toEqual([{ name: 'logits', dataType: 'float32', shape: ['batch', 10] }]);
    await session.close();
  });

  test('an operator that the runtime lacks is named, and no temporary file stays', async () => {
    const scratch = await temporaryFolder();
    const model = buildModel({
      inputs: [{ name: 'x', shape: [2] }],
      outputs: [{ name: 'y', shape: [2] }],
      nodes: [{ opType: 'NoSuchOperator', domain: 'com.microsoft', inputs: ['x'], outputs: ['y'] }],
    });
    await expect(createOrtRuntime({ scratch }).open(model)).rejects.toMatchObject({ message: expect.stringContaining('NoSuchOperator') });
    expect(await readdir(scratch)).toEqual([]);
  });
});

describe('sessions', () => {
  test('closing removes the temporary file, twice is harmless', async () => {
    const scratch = await temporaryFolder();
    const session = await createOrtRuntime({ scratch }).open(classifier());
    expect(await readdir(scratch)).toHaveLength(1);
    await session.close();
    await session.close();
    expect(await readdir(scratch)).toEqual([]);
  });

  test('a model file and the same model in memory give the same answers', async () => {
    const scratch = await temporaryFolder();
    const path = join(scratch, 'm.onnx');
    encodeModelFile(classifier(), path);
    const runtime = createOrtRuntime({ scratch });
    const feeds = new Map([
      [
        'x',
        float32Tensor(
          [2, 16],
          Float32Array.from({ length: 32 }, (_, i) => Math.sin(i)),
        ),
      ],
    ]);
    const [fromFile, fromMemory] = [await runtime.open(path), await runtime.open(classifier())];
    const answers = [await fromFile.run(feeds), await fromMemory.run(feeds)].map((outputs) =>
      Buffer.from(outputs.get('logits')?.data.read() ?? []),
    );
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]?.length).toBe(2 * 10 * 4);
    await Promise.all([fromFile.close(), fromMemory.close()]);
  });

  /** Otherwise an upload of 200 bytes makes the runtime fill gigabytes while it loads. */
  test('a small file cannot make the runtime fold a huge constant', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [1] }],
      outputs: [{ name: 'y', shape: [1] }],
      constants: { shape: int64Tensor([1], [2 ** 27]) },
      nodes: [
        {
          opType: 'ConstantOfShape',
          inputs: ['shape'],
          outputs: ['big'],
          attributes: { value: attributeOf.tensor(float32Tensor([1], [1])) },
        },
        { opType: 'ReduceMax', inputs: ['big'], outputs: ['max'], attributes: { keepdims: attributeOf.int(0) } },
        { opType: 'Add', inputs: ['x', 'max'], outputs: ['y'] },
      ],
    });
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    const peakGrowthMiB = async (config: Readonly<Record<string, string>>): Promise<number> => {
      const before = process.resourceUsage().maxRSS;
      const session = await runtime.open(model, { config });
      await session.close();
      return (process.resourceUsage().maxRSS - before) / 1024;
    };
    expect(await peakGrowthMiB({})).toBeLessThan(100);
    expect(await peakGrowthMiB({ 'optimization.constant_folding_max_output_size_in_bytes': String(2 ** 30) })).toBeGreaterThan(400);
  });
});

/** With the runtime's default they spin for some 35 ms after a run (decision 0014). */
test.each([
  ['a session', {}],
  ['a session that is timed', { config: timedConfig }],
])('the threads of %s rest once its run is over', async (_, options) => {
  const runtime = createOrtRuntime({ scratch: await temporaryFolder(), threads: 2 });
  const session = await runtime.open(classifier({ features: 512, hidden: 512 }), options);
  const feeds = new Map([['x', float32Tensor([1, 512], new Float32Array(512).fill(0.5))]]);
  const busyShares: number[] = [];
  for (let attempt = 0; attempt < 10; attempt += 1) {
    await session.run(feeds);
    const [since, usage] = [performance.now(), process.cpuUsage()];
    await setTimeout(25);
    const { user, system } = process.cpuUsage(usage);
    busyShares.push((user + system) / 1000 / (performance.now() - since));
  }
  await session.close();
  expect(Math.min(...busyShares)).toBeLessThan(0.15);
});

describe('a session on a thread of its own', () => {
  const feeds = () =>
    new Map([
      [
        'x',
        float32Tensor(
          [3, 16],
          Float32Array.from({ length: 48 }, (_, at) => at / 7),
        ),
      ],
    ]);

  test('answers as one on this thread, run after run and for runs that are asked for at once, and keeps no feeds', async () => {
    const scratch = await temporaryFolder();
    const runtime = createOrtRuntime({ scratch });
    const here = await runtime.open(classifier());
    const there = await runtime.openOnThread(classifier());
    const given = feeds();
    const [expected, ...found] = await Promise.all([here.run(given), there.run(given), there.run(given), there.run(given)]);
    for (const each of found) {
      for (const [name, { dims, dataType, data }] of expected)
        expect([each.get(name)?.dims, each.get(name)?.dataType, each.get(name)?.data.read()]).toEqual([dims, dataType, data.read()]);
    }
    expect(given.get('x')?.data.read()).toEqual(feeds().get('x')?.data.read());
    await here.close();
    await there.close();
    await there.close();
    await expect(there.run(given)).rejects.toMatchObject({ code: 'runtime_failed' });
    expect(await readdir(scratch)).toEqual([]);
  });

  test('refuses what one on this thread refuses, and stays', async () => {
    const scratch = await temporaryFolder();
    const runtime = createOrtRuntime({ scratch });
    const lacking = buildModel({
      inputs: [{ name: 'x', shape: [1] }],
      outputs: [{ name: 'y', shape: [1] }],
      nodes: [{ opType: 'NoSuchOperator', domain: 'com.microsoft', inputs: ['x'], outputs: ['y'] }],
    });
    const codeOf = (error: unknown) => (error instanceof EngineError ? error.code : String(error));
    const here = await runtime.open(lacking).catch(codeOf);
    expect(await runtime.openOnThread(lacking).catch(codeOf)).toBe(here);
    expect(await readdir(scratch)).toEqual([]);
    const session = await runtime.openOnThread(classifier());
    await expect(session.run(new Map())).rejects.toMatchObject({ code: 'dataset_invalid' });
    await expect(session.run(feeds(), ['no such output'])).rejects.toMatchObject({ code: 'runtime_failed' });
    expect((await session.run(feeds())).size).toBe(session.outputs.length);
    await session.close();
  });
});
