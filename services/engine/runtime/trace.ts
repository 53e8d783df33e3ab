/** Runs a model and keeps chosen intermediate values: they become extra outputs of a copy of the model, a bounded group at a time. */

import { cloneModel } from '../ir/clone-model.js';
import type { Model, Tensor } from '../ir/index.js';
import type { Runtime, SessionOptions } from './execution-session.js';

export interface TraceRequest {
  readonly model: Model;
  /** Names of values of the main graph. */
  readonly values: readonly string[];
  readonly feeds: ReadonlyMap<string, Tensor>;
  /** Values per run: what bounds the memory. Default 16. */
  readonly groupSize?: number;
  /** Default: optimization 'disabled', the numeric ground truth. */
  readonly session?: SessionOptions;
}

const GROUP_SIZE = 16;

/**
 * Yields every value with its name, group by group; keep what you need and let the rest go.
 * Throws RangeError for a name that the main graph does not make, and what opening and running throw.
 */
export async function* trace(runtime: Runtime, request: TraceRequest): AsyncGenerator<readonly [name: string, value: Tensor]> {
  const groupSize = request.groupSize ?? GROUP_SIZE;
  for (let start = 0; start < request.values.length; start += groupSize) {
    const names = request.values.slice(start, start + groupSize);
    const session = await runtime.open(withOutputs(request.model, names), { optimization: 'disabled', ...request.session });
    try {
      yield* await session.run(request.feeds, names);
    } finally {
      await session.close();
    }
  }
}

/** A copy of the model in which the named values of the main graph are outputs too; weights are shared. */
export function withOutputs(model: Model, names: readonly string[]): Model {
  const copy = cloneModel(model);
  const present = new Map(
    copy.graph.nodes.flatMap((node) => node.outputs).flatMap((value) => (value ? [[value.name, value] as const] : [])),
  );
  const outputs = new Set(copy.graph.outputs.map((value) => value.name));
  for (const name of names) {
    const value = present.get(name);
    if (!value) throw new RangeError(`The graph makes no value "${name}"`);
    if (!outputs.has(name)) copy.graph.outputs.push(value);
  }
  return copy;
}
