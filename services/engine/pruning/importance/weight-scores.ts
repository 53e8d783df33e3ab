/** Scores of units by their weights alone (methods.md 3.12). Larger: more important. */
import type { Model } from '../../ir/index.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { Member, PruningGroup } from '../structure/pruning-structure.js';
import { memberWeights } from './member-weights.js';
import type { WeightCriterion } from './options.js';

/** [members] of [units]: the scores that the units of a group have in each constant that they have slices of. */
export type LayerScores = readonly Float64Array[];

type Scoring = (slices: readonly Float64Array[]) => Float64Array;

const l1: Scoring = (slices) => Float64Array.from(slices, (slice) => sum(slice, Math.abs));
const l2: Scoring = (slices) => Float64Array.from(slices, (slice) => sum(slice, (weight) => weight * weight));

/** s_i = w_i^2 / sum over units j with w_j^2 >= w_i^2 of w_j^2 (Lee et al. 2021, arXiv 2010.07611, for the units of a layer). */
const lamp: Scoring = (slices) => {
  const squares = l2(slices);
  return squares.map(
    (own) =>
      own /
      Math.max(
        Number.MIN_VALUE,
        sum(squares, (other) => (other >= own ? other : 0)),
      ),
  );
};

/** s_i = sum_j |w_i - w_j|_2: the distance to the others; what lies at the geometric median is redundant (He et al. 2019, arXiv 1811.00250). */
const fpgm: Scoring = (slices) =>
  Float64Array.from(slices, (own) =>
    slices.reduce((total, other) => total + Math.sqrt(sum(own, (weight, at) => (weight - (other[at] ?? 0)) ** 2)), 0),
  );

const scorings: Readonly<Record<WeightCriterion, Scoring>> = { l1, l2, lamp, fpgm, 'bn-scale': l1 };

/** One list for each constant with float32 slices of the units; none when the criterion finds nothing to look at. */
export function weightScores(model: Model, group: PruningGroup, criterion: WeightCriterion): LayerScores {
  const store = new WeightStore(model);
  const columns = new Map<string, Float64Array[]>();
  const isCounted = counted(group, criterion);
  for (const { members } of group.units) {
    const seen = new Map<string, Float64Array>();
    for (const member of distinctSlices(members.filter(isCounted))) {
      const constant = store.constant(member.constant);
      if (constant?.tensor.dataType !== 'float32') continue;
      const key = `${member.constant.name} ${member.axis}`;
      const own = memberWeights(constant.tensor, member);
      seen.set(key, Float64Array.from([...(seen.get(key) ?? []), ...own]));
    }
    for (const [key, weights] of seen) columns.set(key, [...(columns.get(key) ?? []), weights]);
  }
  return [...columns.values()].filter((slices) => slices.length === group.units.length).map(scorings[criterion]);
}

/** A slice that several nodes read, or one node in several roles, is one slice. */
function distinctSlices(members: readonly Member[]): Iterable<Member> {
  return new Map(members.map((member) => [sliceKey(member), member])).values();
}

function sliceKey({ constant, axis, indices, within }: Member): string {
  return [constant.name, axis, indices.join(), within ? `${within.axis} ${within.from} ${within.to}` : ''].join('; ');
}

/**
 * 'bn-scale' (Liu et al. 2017, arXiv 1708.06519): |gamma| of the normalizations; where those were folded, the rows of the producers, which
 * they scaled. The others: rows of producers and columns of consumers.
 */
function counted({ units }: PruningGroup, criterion: WeightCriterion): (member: Member) => boolean {
  if (criterion !== 'bn-scale') return ({ role }) => role !== 'parameter';
  const hasScales = units.some(({ members }) => members.some(isScale));
  return hasScales ? isScale : ({ role }) => role === 'producer';
}

const isScale = ({ node, constant }: Member): boolean => node.opType === 'BatchNormalization' && node.inputs[1] === constant;

function sum(values: Float64Array, term: (value: number, at: number) => number): number {
  let total = 0;
  for (let at = 0; at < values.length; at += 1) total += term(values[at] ?? 0, at);
  return total;
}
