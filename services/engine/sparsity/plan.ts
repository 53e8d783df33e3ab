/** Which weights get how many zeros in which pattern: the recipe, layer by layer. */
import { EngineError } from '../engine-errors.js';
import { float32Values, type Model, type Node } from '../ir/index.js';
import { endsOf } from '../layers/end-layers.js';
import { nameMatcher } from '../layers/name-patterns.js';
import { reportName, type WeightStore } from '../layers/weight-store.js';
import { allocate } from './allocation.js';
import type { LayerOverride, PatternOption, SparsityOptions } from './options.js';
import { type Pattern, parsePattern, patternWords, unitCount } from './pattern.js';
import { findPrunableWeights, type PrunableWeight, type Selection } from './prunable-weights.js';

export interface PlannedWeight extends PrunableWeight {
  readonly pattern: Pattern;
  /** Fraction of the units of the pattern that become zero: weights or blocks; for N:M of the weights beyond the N, which is 1. */
  readonly fraction: number;
}

export interface SparsityPlan {
  readonly weights: readonly PlannedWeight[];
  readonly left: ReadonlyMap<Node, string>;
}

const DEFAULT_SPARSITY = 0.5;

/** What a rule of the recipe asks for. */
interface Demand {
  readonly pattern: Pattern;
  readonly fraction: number;
  /** The layer takes part in the allocation of the step. */
  readonly isAllocated: boolean;
}

/** Throws EngineError `recipe_invalid` for options that contradict each other. */
export function planSparsity(model: Model, store: WeightStore, options: SparsityOptions): SparsityPlan {
  const demandOf = demands(options);
  const found = findPrunableWeights(model, store, selectionOf(model, store, options));
  const left = new Map(found.left);
  const kept: { weight: PrunableWeight; demand: Demand }[] = [];
  for (const weight of found.weights) {
    const demand = demandOf(weight);
    const reason = obstacle(weight, demand);
    if (reason === null) kept.push({ weight, demand });
    else for (const { node } of weight.readers) left.set(node, reason);
  }
  const allocated = kept.filter(({ demand }) => demand.isAllocated);
  const shares = allocate(
    allocated.map(({ weight, demand: { pattern } }) => ({
      values: float32Values(weight.constant.tensor),
      form: weight.readers[0].form,
      pattern,
    })),
    { fraction: options.sparsity ?? DEFAULT_SPARSITY, allocation: options.allocation ?? 'uniform' },
  );
  const weights = kept.map(({ weight, demand }) => {
    const share = allocated.findIndex((each) => each.weight === weight);
    return { ...weight, pattern: demand.pattern, fraction: shares[share] ?? demand.fraction };
  });
  // A node keeps its line as a pruned layer when only one of its weights stays dense.
  for (const { readers } of weights) for (const { node } of readers) left.delete(node);
  return { weights, left };
}

function selectionOf(model: Model, store: WeightStore, options: SparsityOptions): Selection {
  const { op_types, exclude = [], embeddings = false, protect_ends = true } = options;
  const isExcluded = nameMatcher(exclude);
  const ends = protect_ends ? endsOf(model.graph, store) : new Set<Node>();
  return (node) => {
    if (op_types && !op_types.includes(node.opType)) return `op_types does not name ${node.opType}`;
    if (isExcluded(reportName(node))) return 'excluded by the recipe';
    if (node.opType === 'Gather' && !embeddings) return 'embedding tables stay dense unless the recipe says "embeddings": true';
    return ends.has(node) ? 'the first and the last layer stay dense unless the recipe says "protect_ends": false' : null;
  };
}

/** The last rule of the recipe that names a reader of the weight decides, else the step itself. */
function demands(options: SparsityOptions): (weight: PrunableWeight) => Demand {
  const { sparsity, allocation = 'uniform', layers = [] } = options;
  const pattern = parsePattern(options.pattern);
  const own = { ...demandFor(pattern, sparsity), isAllocated: pattern.kind !== 'n:m' };
  if (pattern.kind === 'n:m' && allocation !== 'uniform')
    throw new EngineError(
      'recipe_invalid',
      `With ${patternWords(pattern)} every layer has the same share of zeros: leave "allocation" out, or use another pattern.`,
    );
  const rules = layers.map((rule) => ({ matches: nameMatcher(rule.nodes), demand: overridden(rule, options.pattern) }));
  return ({ readers }) => {
    const names = readers.map(({ node }) => reportName(node));
    return rules.findLast(({ matches }) => names.some(matches))?.demand ?? own;
  };
}

function overridden(rule: LayerOverride, outer: PatternOption | undefined): Demand {
  // A fraction without a pattern frees a layer from the N:M of the step.
  const isFreed = rule.pattern === undefined && rule.sparsity !== undefined && parsePattern(outer).kind === 'n:m';
  const pattern = isFreed ? parsePattern() : parsePattern(rule.pattern ?? outer);
  return { ...demandFor(pattern, rule.sparsity), isAllocated: false };
}

function demandFor(pattern: Pattern, sparsity: number | undefined): Omit<Demand, 'isAllocated'> {
  if (pattern.kind !== 'n:m') return { pattern, fraction: sparsity ?? DEFAULT_SPARSITY };
  if (sparsity === undefined) return { pattern, fraction: 1 };
  throw new EngineError('recipe_invalid', `The pattern ${patternWords(pattern)} says how many weights become zero: leave "sparsity" out.`);
}

function obstacle({ readers: [{ form }] }: PrunableWeight, { pattern, fraction }: Demand): string | null {
  if (fraction === 0) return 'the recipe keeps it dense';
  if (unitCount(pattern, form.matrix) > 0) return null;
  return `its ${form.matrix.inputs} inputs per output have no group of ${patternWords(pattern)}`;
}
