/** What a part of the training carries from step to step, in the form that a checkpoint keeps. */

export interface TrainingState {
  /** Views, not copies: good until the next step. */
  readonly arrays: ReadonlyMap<string, Float32Array>;
  readonly counters: ReadonlyMap<string, number>;
}

/** Copies the arrays of `from` into those of `into`. Throws RangeError when a name is missing or of another length; `into` is whole then. */
export function copyArrays(from: ReadonlyMap<string, Float32Array>, into: ReadonlyMap<string, Float32Array>): void {
  for (const [name, { length }] of into) {
    const found = from.get(name)?.length;
    if (found !== length) throw new RangeError(`copyArrays: "${name}" has ${length} values, the state ${found ?? 'none'}`);
  }
  for (const [name, values] of into) values.set(from.get(name) ?? []);
}
