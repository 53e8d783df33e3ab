/** Which inputs of a model are its memory: units that live there can go, as nothing else reads them. */
import { pairStates } from '../data/state-pairs.js';
import type { Model, Value } from '../ir/index.js';
import type { CarriedState, MethodContext } from '../method.js';
import type { InputOutputInfo } from '../runtime/execution-session.js';

/** What memories are called, in words of a name. */
const stateWords = /(^|[^a-z])(states?|caches?|hidden|memory|past|h0|c0|hn|cn|h|c)([^a-z]|$)/;

/** Those that the samples carry; without samples, those that are called a state and have an output of their name. */
export function carriedStates({ graph }: Model, { calibration }: Pick<MethodContext, 'calibration'>): readonly CarriedState[] {
  if (calibration) return calibration.states ?? [];
  const inputs = graph.inputs.filter((input) => !graph.initializers.has(input)).flatMap(described);
  const named = inputs.filter(({ name }) => stateWords.test(name.toLowerCase()));
  const given = inputs.filter((input) => !named.includes(input));
  if (given.length === 0) return [];
  return pairStates(named, graph.outputs.flatMap(described), given).map(({ input, output }) => ({ input: input.name, output }));
}

function described({ name, type }: Value): InputOutputInfo[] {
  return type?.kind === 'tensor' && type.dataType ? [{ name, dataType: type.dataType, shape: type.shape }] : [];
}
