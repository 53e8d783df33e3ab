/** The widths that a group may have: multiples of a block, not below a minimum, not beyond a share of what there was. */
import type { RemovalOrder } from '../importance/removal-order.js';
import type { PruningGroup, UnitKind } from '../structure/pruning-structure.js';

export interface WidthRules {
  /** Remaining channels (of each part) are multiples of it; a group that loses nothing keeps what it has. */
  readonly roundTo: number;
  /** Channels that stay at least. Default: 8, or half of a group that has less than 16. */
  readonly minChannels?: number;
  /** Largest share of a group that may go, 0 to 1. */
  readonly maxRemoved: number;
}

const MIN_CHANNELS = 8;
/** More widths than these cost time and buy nothing. */
const RUNGS_MAX = 128;

/** Heads and groups of channels are large, and any number of them is a good one. */
const countsSingly: ReadonlySet<UnitKind> = new Set(['heads', 'groups']);

/** Steps of `order` after which the group has a width that the rules allow, ascending, 0 first. */
export function widthLadder({ group, steps, branch }: RemovalOrder, rules: WidthRules): readonly number[] {
  if (branch) return [0, ...steps.map((_, at) => at + 1)];
  const units = unitsPerPart(group);
  const each = channelsPerUnit(group);
  const isSingle = countsSingly.has(group.kind);
  const minimum = isSingle ? 1 : (rules.minChannels ?? Math.min(MIN_CHANNELS, Math.ceil((units * each) / 2)));
  const multiple = isSingle ? 1 : rules.roundTo;
  const most = Math.min(steps.length, Math.floor(units * rules.maxRemoved + 1e-9));
  const rungs = [0];
  for (let step = 1; step <= most; step += 1) {
    const width = (units - step) * each;
    if (width >= minimum && width % multiple === 0) rungs.push(step);
  }
  return thinned(rungs);
}

/** Channels of the group, or of one of its parts, after `step` steps. */
export function widthAfter(group: PruningGroup, step: number): number {
  return (unitsPerPart(group) - step) * channelsPerUnit(group);
}

function unitsPerPart({ units, parts }: PruningGroup): number {
  return units.length / Math.max(1, parts.length);
}

/** Channels of the first producer that one unit is; a hidden unit is one whatever the number of its gates. */
function channelsPerUnit({ kind, units }: PruningGroup): number {
  if (kind === 'hidden') return 1;
  const producer = units[0]?.members.find(({ role }) => role === 'producer');
  return producer?.indices.length ?? 1;
}

function thinned(rungs: readonly number[]): readonly number[] {
  if (rungs.length <= RUNGS_MAX) return rungs;
  const stride = (rungs.length - 1) / (RUNGS_MAX - 1);
  return Array.from({ length: RUNGS_MAX }, (_, at) => rungs[Math.round(at * stride)] ?? 0);
}
