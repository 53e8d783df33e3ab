/** What the doctor says: one finding is one fact about one node of a quantized model, with what can be done about it. */
import type { Node, Value } from '../../ir/index.js';
import type { QuantizedGraph } from './quantized-graph.js';

/** Stable names of what can be wrong with a quantized model; `rules.ts` has one rule for each. */
export const findingKinds = [
  'signed-activations',
  'bias-scale',
  'float-bias',
  'redundant-activation',
  'activation-range',
  'activation-between',
  'omitted-permutation',
  'unfolded-weight',
  'transposed-weight',
  'embedding-dequantize',
  'tied-weight',
  'weight-only-conv',
  'weight-bias-trap',
  'missing-zero-point',
  'varying-parameters',
  'per-channel-activation',
  'unfusable-type',
  'type-mismatch',
  'float-operand',
  'output-not-quantized',
  'output-also-float',
  'mover-parameters',
  'movable-codes',
  'no-integer-kernel',
  'interpolation',
  'operator-version',
  'repeated-pair',
  'conflicting-pairs',
  'saturation',
] as const;
export type FindingKind = (typeof findingKinds)[number];

/**
 * 'exact': repaired unless told otherwise, equality is proved. 'on-request': repaired only when its kind is named.
 * 'no': nothing can be done to the file without new ranges or new software; `instead` says what to do.
 */
export type Repairability = 'exact' | 'on-request' | 'no';

/**
 * 'float': the runtime computes the node in float on dequantized values. 'slow': more work than needed in every run.
 * 'numbers': the runtime computes other numbers than the graph says, or than another processor. 'fails': the runtime refuses the
 * node. 'size': the file is larger than need be. 'harmless': the runtime mends it itself when it loads the model.
 */
export type Effect = 'float' | 'slow' | 'numbers' | 'fails' | 'size' | 'harmless';

export interface Finding {
  readonly kind: FindingKind;
  /** Name of the node, or of its first output. */
  readonly node: string;
  readonly op_type: string;
  /** The nodes that suffer from it: the node itself, or those beside a QuantizeLinear or DequantizeLinear. */
  readonly affects: readonly string[];
  readonly effect: Effect;
  /** Why the runtime does what it does. */
  readonly sentence: string;
  readonly repairable: Repairability;
  /** What the repair does, or what to do instead. */
  readonly instead: string;
}

/**
 * What must hold after a repair, on samples, without the runtime's optimizer. 'equal': every output bit for bit.
 * 'one-step': each repaired node beside its old self on the same inputs differs by at most one step of its quantized output.
 * 'measured': nothing; the difference is reported.
 */
export type Proof = 'equal' | 'one-step' | 'measured';

/** What a repair left behind for the proof: `node` read `before` as input `index`. */
export interface ReplacedInput {
  readonly node: Node;
  readonly index: number;
  readonly before: Value | null;
  /** How far the float output of the node may move, in real values. */
  readonly tolerance: number;
}

export interface Repair {
  readonly proof: Proof;
  /** Edits the graph. For 'one-step' it returns what it replaced. */
  apply(): readonly ReplacedInput[];
}

/** A finding in the graph that it was found in. */
export interface Diagnosis {
  readonly node: Node;
  readonly effect: Effect;
  readonly sentence: string;
  readonly instead: string;
  readonly repairable: Repairability;
  readonly repair?: Repair;
}

/** Looks for one kind of finding in the whole model. */
export interface Rule {
  /** One line for the documentation. */
  readonly title: string;
  examine(graph: QuantizedGraph): Diagnosis[];
}
