/** Feeds of models with a memory: the states that a run left go into the next one, and are zero where a sequence begins. */
import { byteCount, bytesInMemory, elementCount, type Tensor } from '../ir/index.js';
import type { SampleRun } from '../method.js';
import type { ExecutionSession } from '../runtime/execution-session.js';
import type { StatePair } from './state-pairs.js';

export interface StateCarrying {
  readonly states: readonly StatePair[];
  /** The model that the states are of. */
  readonly session: ExecutionSession;
  /** Samples that follow each other with the same number are one sequence. */
  sequenceOf(sample: number): Promise<number>;
}

/** `runs` of one sample each, completed with the states of the model that `session` runs: for any other model, too, these are its inputs. */
export async function* withStates(
  runs: AsyncIterable<SampleRun>,
  { states, session, sequenceOf }: StateCarrying,
): AsyncGenerator<SampleRun> {
  const outputs = states.map(({ output }) => output);
  let before: { readonly feeds: ReadonlyMap<string, Tensor>; readonly sequence: number } | undefined;
  let sample = 0;
  for await (const run of runs) {
    const sequence = await sequenceOf(sample);
    const left = before?.sequence === sequence ? await session.run(before.feeds, outputs) : undefined;
    const carried = states.map((state) => [state.input.name, left?.get(state.output) ?? zeros(state)] as const);
    const feeds = new Map([...run.feeds, ...carried]);
    yield { ...run, feeds };
    before = { feeds, sequence };
    sample += 1;
  }
}

function zeros({ input, dims }: StatePair): Tensor {
  return { dataType: input.dataType, dims, data: bytesInMemory(new Uint8Array(byteCount(input.dataType, elementCount(dims)))) };
}
