/** What a fact inference rule reads and returns. */
import type { Node, Tensor, Value } from '../ir/index.js';
import type { ValueFact } from './value-facts.js';

export interface FactView {
  readonly opset: number;
  /** Facts of a value; everything unknown for an omitted input. */
  fact(value: Value | null | undefined): ValueFact;
  /** All elements of a small integer tensor, when each is a known number. */
  integers(value: Value | null | undefined): readonly number[] | undefined;
  /** The tensor of a value that is the same in every run. */
  constant(value: Value | null | undefined): Tensor | undefined;
}

/** Facts of the outputs of `node`, in order; missing entries are unknown. */
export type InferenceRule = (node: Node, view: FactView) => ValueFact[];
