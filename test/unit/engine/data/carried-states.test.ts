/** Models with a memory: states go from run to run as in a program that uses the model, and begin anew with each sequence. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Dataset, openDataset } from '../../../../services/engine/data/dataset.js';
import { pairStates } from '../../../../services/engine/data/state-pairs.js';
import { type DataType, float32Tensor, float32Values, type Shape } from '../../../../services/engine/ir/index.js';
import type { ExecutionSession, InputOutputInfo } from '../../../../services/engine/runtime/execution-session.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { buildModel } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';
import { type ArraySpec, float32Array, int64Array, writeNpz } from '../../../support/write-npz.js';

const info = (name: string, shape: Shape | null, dataType: DataType = 'float32'): InputOutputInfo => ({ name, shape, dataType });

/** total' = total + x: what is fed tells which samples came before. */
const summing = () =>
  buildModel({
    inputs: [
      { name: 'x', shape: [1, 2] },
      { name: 'total', shape: [1, 1, 2] },
    ],
    outputs: [
      { name: 'y', shape: null },
      { name: 'total_out', shape: null },
    ],
    nodes: [
      { opType: 'Add', inputs: ['x', 'total'], outputs: ['total_out'] },
      { opType: 'Neg', inputs: ['total_out'], outputs: ['y'] },
    ],
  });

async function opened(
  arrays: Record<string, ArraySpec>,
): Promise<{ dataset: Dataset; sessions: () => { opened: number; closed: number } }> {
  const folder = await temporaryFolder();
  const path = join(folder, 'data.npz');
  await writeNpz(path, arrays);
  const runtime = createOrtRuntime({ scratch: folder, threads: 1 });
  const count = { opened: 0, closed: 0 };
  const open = async (): Promise<ExecutionSession> => {
    const session = await runtime.open(summing());
    count.opened += 1;
    return {
      ...session,
      async close() {
        count.closed += 1;
        await session.close();
      },
    };
  };
  const { inputs, outputs, close } = await runtime.open(summing());
  await close();
  return { dataset: await openDataset({ path, scratch: folder }, inputs, { outputs, open }), sessions: () => count };
}

const x = float32Array([4, 2], [1, 10, 2, 20, 3, 30, 4, 40]);

async function fedStates(dataset: Dataset, limit?: number): Promise<number[][]> {
  const states: number[][] = [];
  for await (const { feeds, sampleCount } of dataset.runs(64, limit)) {
    expect(sampleCount).toBe(1);
    const state = feeds.get('total');
    states.push(state ? [...float32Values(state)] : []);
  }
  return states;
}

describe('states of a model with a memory', () => {
  test('are zero at first, then what the run before left, the same each time the samples are run', async () => {
    const { dataset, sessions } = await opened({ x });
    const states = [
      [0, 0],
      [1, 10],
      [3, 30],
      [6, 60],
    ];
    expect(await fedStates(dataset)).toEqual(states);
    expect(await fedStates(dataset, 3)).toEqual(states.slice(0, 3));
    await dataset.close();
    expect(sessions()).toEqual({ opened: 1, closed: 1 });
  });

  test('begin anew where the array "sequences" names another sequence', async () => {
    const { dataset } = await opened({ x, sequences: int64Array([4], [7, 7, 3, 3]) });
    expect(await fedStates(dataset)).toEqual([
      [0, 0],
      [1, 10],
      [0, 0],
      [3, 30],
    ]);
    await dataset.close();
  });

  test('come from the file when it has them, and no model is run then', async () => {
    const total = float32Array([4, 1, 1, 2], [1, 2, 3, 4, 5, 6, 7, 8]);
    const { dataset, sessions } = await opened({ x, total });
    expect(await fedStates(dataset)).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
      [7, 8],
    ]);
    await dataset.close();
    expect(sessions()).toEqual({ opened: 0, closed: 0 });
  });

  test('an array "sequences" that is no list of integers is refused', async () => {
    await expect(opened({ x, sequences: float32Array([4], [1, 1, 2, 2]) })).rejects.toMatchObject({
      code: 'dataset_invalid',
      details: { array: 'sequences' },
    });
  });
});

describe('pairing of states', () => {
  const paired = (absent: InputOutputInfo[], outputs: InputOutputInfo[], given: InputOutputInfo[] = []): Record<string, string> =>
    Object.fromEntries(pairStates(absent, outputs, given).map(({ input, output }) => [input.name, output]));

  test.each([
    ['conv_cache', 'conv_cache_out'],
    ['state', 'stateN'],
    ['h0', 'hn'],
    ['past_memory', 'present_memory'],
  ])('%s takes %s', (input, output) => {
    expect(paired([info(input, [2, null, 8])], [info('y', [1, 8]), info(output, null)])).toEqual({ [input]: output });
  });

  test('by sizes, in their order, when names say nothing', () => {
    const shape = [1, 2, 128, 2];
    const outputs = [info('activation', [1, 1, 257]), info('stack_1', shape), info('stack_2', shape)];
    expect(paired([info('input_3', shape), info('input_4', shape)], outputs, [info('input_2', [1, 1, 257])])).toEqual({
      input_3: 'stack_1',
      input_4: 'stack_2',
    });
  });

  test.each<[string, InputOutputInfo, InputOutputInfo[], InputOutputInfo[]]>([
    ['looks like another input', info('right', [1, 3, 8, 8]), [info('depth', [1, 3, 8, 8])], [info('left', [1, 3, 8, 8])]],
    ['could be one of two outputs', info('a', [1, 8]), [info('p', [1, 8]), info('q', [1, 8])], []],
    ['has another type', info('state', [1, 8], 'int64'), [info('state_out', [1, 8])], []],
    ['has other sizes', info('state', [1, 8]), [info('state_out', [1, 4])], []],
    ['has open sizes and another name', info('b', ['n', 8]), [info('c', ['n', 8])], []],
  ])('an input that %s is no state', (_, input, outputs, given) => {
    expect(paired([input], outputs, given)).toEqual({});
  });
});

const gtcrn = '/work/shared/data/speech-enh/gtcrn_simple.onnx';

describe.skipIf(!existsSync(gtcrn))('on a trained model', () => {
  test('caches of a speech enhancer are as in a loop that feeds them back by hand', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'data.npz');
    const frames = Array.from({ length: 3 }, (_, frame) => Float32Array.from({ length: 257 * 2 }, (_, at) => Math.sin(at * (frame + 1))));
    await writeNpz(path, {
      mix: float32Array(
        [3, 257, 1, 2],
        frames.flatMap((frame) => [...frame]),
      ),
    });
    const runtime = createOrtRuntime({ scratch: folder, threads: 1 });
    const session = await runtime.open(gtcrn);
    const dataset = await openDataset({ path, scratch: folder }, session.inputs, {
      outputs: session.outputs,
      open: () => runtime.open(gtcrn),
    });
    let caches = new Map(
      session.inputs.slice(1).map(({ name, shape }) => {
        const dims = (shape ?? []).map(Number);
        return [name, float32Tensor(dims, new Float32Array(dims.reduce((a, b) => a * b)))];
      }),
    );
    let frame = 0;
    for await (const { feeds } of dataset.runs(1)) {
      for (const [name, cache] of caches) expect(feeds.get(name)?.data.read()).toEqual(cache.data.read());
      const results = await session.run(new Map([['mix', float32Tensor([1, 257, 1, 2], frames[frame] ?? [])], ...caches]));
      caches = new Map([...caches.keys()].map((name) => [name, results.get(`${name}_out`) ?? float32Tensor([0], [])]));
      frame += 1;
    }
    expect(frame).toBe(3);
    await dataset.close();
    await session.close();
  });
});
