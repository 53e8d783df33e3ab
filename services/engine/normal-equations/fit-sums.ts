/** Normal equations of a fit: what the rows X of a layer and an error E that they shall explain come to, X^T X (or few X) and X^T E. */
import { float32Values, integerValues, type Value } from '../ir/index.js';
import { groupsOf, type RowLayer, rowSignature } from './layer-rows.js';
import type { ProbeGraph } from './probe-graph.js';
import { type FetchedParts, type RowSum, type RowSumRequest, type SummedRows, sumRows } from './row-sums.js';

export interface FitLayer extends RowLayer {
  readonly key: string;
  /** Outputs O per group. */
  readonly outputs: number;
  /** E [groups, O, all rows], a value of the probe. */
  error(probe: ProbeGraph): Value;
}

export interface FitRequest extends Omit<RowSumRequest, 'layers'> {
  readonly layers: readonly FitLayer[];
  /** Whether X^T X, or the rows, are wanted, or only what changes with E. */
  readonly withGram: boolean;
}

/** Rows of one run, [groups, K, count]. */
export interface RowBlock {
  readonly values: Float32Array;
  readonly count: number;
}

/** Sums over rows; [group, ...] row-major. */
export interface FitSums {
  readonly groups: number;
  readonly depth: number;
  readonly outputs: number;
  readonly rows: number;
  /** [groups, K, K]: x x^T; shared by layers with the same rows, empty when it was not wanted or the rows are kept. */
  readonly gram: Float64Array;
  /** The rows themselves in place of the Gram matrix, where they are fewer than K. */
  readonly blocks?: readonly RowBlock[];
  /** [groups, K]: x. */
  readonly inputs: Float64Array;
  /** [groups, K, O]: x e^T. */
  readonly cross: Float64Array;
  /** [groups, O]: e. */
  readonly errors: Float64Array;
  /** [groups, O]: e^2. */
  readonly squares: Float64Array;
}

/** `heldOut`: of every fourth run; it has no rows when there was only one run. */
export interface SplitSums {
  readonly all: FitSums;
  readonly heldOut: FitSums;
}

const HELD_OUT_EVERY = 4;

/** By key; layers whose rows the main graph does not make are missing. */
export async function fitSums(request: FitRequest): Promise<Map<string, SplitSums>> {
  const bySignature = new Map<string, FitLayer[]>();
  for (const layer of request.layers) {
    const signature = rowSignature(layer);
    bySignature.set(signature, [...(bySignature.get(signature) ?? []), layer]);
  }
  const layers = [...bySignature].flatMap(([key, [layer]]) => (layer ? [{ ...layer, key }] : []));
  const sums = await sumRows({ ...request, layers }, (probe, summed) => {
    const members = bySignature.get(rowSignature(summed.layer)) ?? [];
    return new ErrorSums(probe, summed, members, request.withGram);
  });
  return new Map([...sums.values()].flatMap((found) => [...found]));
}

/** The sums of all layers that see the same rows. */
class ErrorSums implements RowSum<Map<string, SplitSums>> {
  private readonly groups: number;
  private readonly depth: number;
  private readonly shape: string;
  private readonly mean: string;
  private readonly gram: string | null;
  /** The rows, when they are kept. */
  private readonly rows: string | null;
  private readonly errors: { layer: FitLayer; cross: string; mean: string; square: string }[];
  private readonly fitted: Totals;
  private readonly heldOut: Totals;
  private runs = 0;

  constructor(probe: ProbeGraph, { rows, layer, thinned, rowsTotal }: SummedRows, members: readonly FitLayer[], withGram: boolean) {
    this.groups = groupsOf(layer);
    this.depth = layer.depth;
    this.shape = probe.output(probe.node('Shape', [rows]), 'int64');
    this.mean = probe.output(probe.node('GlobalAveragePool', [rows]), 'float32');
    const product = (other: Value): string => probe.output(probe.node('MatMul', [rows, probe.transpose(other, [0, 2, 1])]), 'float32');
    const isKept = withGram && rowsTotal < layer.depth;
    this.gram = withGram && !isKept ? product(rows) : null;
    this.rows = isKept ? probe.output(rows, 'float32') : null;
    this.errors = members.map((member) => {
      const error = thinned(member.error(probe));
      return {
        layer: member,
        cross: product(error),
        mean: probe.output(probe.node('GlobalAveragePool', [error]), 'float32'),
        square: probe.output(probe.node('GlobalAveragePool', [probe.node('Mul', [error, error])]), 'float32'),
      };
    });
    const totals = (): Totals => new Totals(this.groups * this.depth, this.gram ? this.depth : 0, this.errors.length);
    [this.fitted, this.heldOut] = [totals(), totals()];
  }

  add(part: FetchedParts): void {
    const [, , rows = 0] = integerValues(part(this.shape));
    const totals = this.runs % HELD_OUT_EVERY === 1 ? this.heldOut : this.fitted;
    this.runs += 1;
    totals.rows += rows;
    addTo(totals.inputs, float32Values(part(this.mean)), rows);
    if (this.gram) addTo(totals.gram, float32Values(part(this.gram)), 1);
    if (this.rows) totals.blocks.push({ values: float32Values(part(this.rows)), count: rows });
    for (const [at, { cross, mean, square }] of this.errors.entries()) {
      totals.error(at, 'cross', float32Values(part(cross)), 1);
      totals.error(at, 'errors', float32Values(part(mean)), rows);
      totals.error(at, 'squares', float32Values(part(square)), rows);
    }
  }

  result(): Map<string, SplitSums> {
    const { groups, depth } = this;
    const of = (totals: Totals, at: number, outputs: number): FitSums => ({ groups, depth, outputs, ...totals.of(at) });
    const all = this.fitted.plus(this.heldOut);
    return new Map(
      this.errors.map(({ layer: { key, outputs } }, at) => [key, { all: of(all, at, outputs), heldOut: of(this.heldOut, at, outputs) }]),
    );
  }
}

type ErrorPart = Pick<FitSums, 'cross' | 'errors' | 'squares'>;

class Totals {
  rows = 0;
  readonly gram: Float64Array;
  readonly inputs: Float64Array;
  readonly blocks: RowBlock[] = [];
  private readonly parts: { cross: Float64Array; errors: Float64Array; squares: Float64Array }[];

  /** `lines`: groups times K. */
  constructor(lines: number, gramColumns: number, members: number) {
    this.gram = new Float64Array(lines * gramColumns);
    this.inputs = new Float64Array(lines);
    const nothing = new Float64Array();
    this.parts = Array.from({ length: members }, () => ({ cross: nothing, errors: nothing, squares: nothing }));
  }

  /** The first values say how many there are. */
  error(at: number, name: keyof ErrorPart, values: Float32Array, factor: number): void {
    const part = this.parts[at];
    if (!part) return;
    if (part[name].length === 0) part[name] = new Float64Array(values.length);
    addTo(part[name], values, factor);
  }

  of(at: number): Pick<FitSums, 'rows' | 'gram' | 'inputs' | 'blocks'> & ErrorPart {
    const { rows, gram, inputs, blocks } = this;
    const { cross, errors, squares } = this.parts[at] ?? { cross: gram, errors: gram, squares: gram };
    return { rows, gram, inputs, cross, errors, squares, ...(blocks.length > 0 ? { blocks } : {}) };
  }

  /** Adds `other` to this one. */
  plus(other: Totals): this {
    this.rows += other.rows;
    this.blocks.push(...other.blocks);
    addTo(this.gram, other.gram, 1);
    addTo(this.inputs, other.inputs, 1);
    for (const [at, part] of this.parts.entries()) {
      const added = other.parts[at];
      if (added) for (const name of ['cross', 'errors', 'squares'] as const) addTo(part[name], added[name], 1);
    }
    return this;
  }
}

/** A loop over indices: iterators took most of the time. */
function addTo(sums: Float64Array, values: Float32Array | Float64Array, factor: number): void {
  for (let at = 0; at < values.length; at += 1) sums[at] = (sums[at] ?? 0) + factor * (values[at] ?? 0);
}
