/** The original and the pruned network in one probe: values of both, side by side, for the same samples. */
import { attributeOf, int64Tensor, type Model, type Value } from '../../ir/index.js';
import { joinModels } from '../../normal-equations/joined-models.js';
import type { ProbeGraph } from '../../normal-equations/probe-graph.js';

export interface PairedModels {
  /** Names of the pruned network stay. */
  readonly model: Model;
  /** Name there of a value of the original. */
  nameInOriginal(name: string): string;
}

export function pairModels(pruned: Model, original: Model): PairedModels {
  const { model, nameInSecond } = joinModels(pruned, original);
  return { model, nameInOriginal: nameInSecond };
}

/** Throws Error for a name that the main graph does not know: names were looked up before. */
export function valueNamed(probe: ProbeGraph, name: string): Value {
  const value = probe.value(name);
  if (!value) throw new Error(`the paired networks have no value "${name}"`);
  return value;
}

/** Chosen indices along an axis; all of them for null. */
export function picked(probe: ProbeGraph, value: Value, { kept, axis }: { kept: readonly number[] | null; axis: number }): Value {
  if (!kept) return value;
  return probe.node('Gather', [value, probe.constant(int64Tensor([kept.length], kept))], { axis: attributeOf.int(axis) });
}
