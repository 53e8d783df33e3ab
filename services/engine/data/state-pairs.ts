/** Models with a memory: which output of a run is which input of the next one. */
import type { Shape } from '../ir/index.js';
import type { InputOutputInfo } from '../runtime/execution-session.js';

export interface StatePair {
  readonly input: InputOutputInfo;
  /** Name of the output. */
  readonly output: string;
  /** Of the first value, all zeros. */
  readonly dims: readonly number[];
}

/** Words that tell the two ends of a state apart, not two states. */
const directions: ReadonlySet<string> = new Set(['in', 'out', 'input', 'output', 'past', 'present', 'prev', 'previous', 'next', 'new']);

/**
 * The state that each of `absent`, inputs without data, takes from an output of the run before. Names decide first
 * ("conv_cache" and "conv_cache_out", "state" and "stateN", "h0" and "hn"). Otherwise sizes do, where they are fixed and unlike
 * those of all `given` inputs: as many inputs as outputs of one shape belong together in their order. Inputs that no output fits
 * are missing from the answer. Open axes begin with size 1, the batch.
 */
export function pairStates(
  absent: readonly InputOutputInfo[],
  outputs: readonly InputOutputInfo[],
  given: readonly InputOutputInfo[],
): StatePair[] {
  const free = new Set(outputs);
  const pairs = new Map<InputOutputInfo, InputOutputInfo>();
  const pair = (input: InputOutputInfo, output: InputOutputInfo | undefined): void => {
    if (!output) return;
    pairs.set(input, output);
    free.delete(output);
  };
  for (const input of absent)
    pair(
      input,
      [...free].find((output) => isCarried(input, output) && stem(input.name) === stem(output.name)),
    );
  for (const input of absent) {
    if (pairs.has(input) || !hasFixedSizes(input) || given.some((other) => sameShape(other, input))) continue;
    const peers = absent.filter((other) => !pairs.has(other) && sameShape(other, input));
    const candidates = [...free].filter((output) => hasFixedSizes(output) && isCarried(input, output));
    if (candidates.length === peers.length) for (const [at, peer] of peers.entries()) pair(peer, candidates[at]);
  }
  return [...pairs].map(([input, output]) => ({ input, output: output.name, dims: (input.shape ?? []).map(firstSize) }));
}

function hasFixedSizes({ shape }: InputOutputInfo): boolean {
  return shape?.every((size) => typeof size === 'number') ?? false;
}

function firstSize(size: Shape[number]): number {
  return typeof size === 'number' ? size : 1;
}

/** "conv_cache_out" and "conv_cache" have one stem, "stateN" and "state", "h0" and "hn". */
function stem(name: string): string {
  const words = name
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => !directions.has(word));
  return words.join('_').replace(/(?<=[a-z])[n0]$/, '');
}

/** Whether a value of the output can be fed to the input. */
function isCarried(input: InputOutputInfo, output: InputOutputInfo): boolean {
  if (input.dataType !== output.dataType || input.dataType === 'string' || !input.shape) return false;
  if (!output.shape) return true;
  const { shape } = output;
  return (
    input.shape.length === shape.length &&
    input.shape.every((size, axis) => typeof size !== 'number' || typeof shape[axis] !== 'number' || size === shape[axis])
  );
}

function sameShape(one: InputOutputInfo, other: InputOutputInfo): boolean {
  return one.dataType === other.dataType && `${one.shape}` === `${other.shape}`;
}
