/** Losses of values inside both networks that name no values, or one of the two: filled in by the map of the layers. */
import { EngineError } from '../engine-errors.js';
import { lastAttentions } from './attention-values.js';
import { type Comparable, type LayerPair, type MappedNetwork, mapLayers } from './layer-mapping.js';
import { type HintKind, type HintTerm, hintKinds, type LossTerm } from './loss-terms.js';

/** A loss term whose values may be left to the map of the layers. */
export type OpenLossTerm =
  | Exclude<LossTerm, HintTerm>
  | (Omit<HintTerm, 'student' | 'teacher'> & { readonly student?: string; readonly teacher?: string });

/**
 * A term without names becomes one term for each pair of layers, which share its weight; one name stands for the value of the same
 * name in the other network. Throws EngineError `recipe_invalid` where no two layers can be compared.
 */
export function namedLosses(terms: readonly OpenLossTerm[], student: MappedNetwork, teacher: MappedNetwork | undefined): LossTerm[] {
  return terms.flatMap((term): LossTerm[] => {
    if (!isHint(term)) return [term];
    const name = term.student ?? term.teacher;
    if (name !== undefined) return [{ ...term, student: term.student ?? name, teacher: term.teacher ?? name }];
    const pairs = teacher ? mappers[term.kind](student, teacher) : [];
    if (pairs.length === 0) throw unmapped(term.kind);
    return pairs.map((pair) => ({ ...term, ...pair, weight: (term.weight ?? 1) / pairs.length }));
  });
}

/** The values that are compared, each pair once. */
export function hintPairs(terms: readonly LossTerm[]): LayerPair[] {
  const pairs = terms.flatMap((term) => (isHint(term) ? [{ student: term.student, teacher: term.teacher }] : []));
  return [...new Map(pairs.map((pair) => [JSON.stringify(pair), pair] as const)).values()];
}

function isHint<Term extends OpenLossTerm>(term: Term): term is Extract<Term, { kind: HintKind }> {
  return hintKinds.some((kind) => kind === term.kind);
}

type Mapper = (student: MappedNetwork, teacher: MappedNetwork) => LayerPair[];
const layersThat =
  (comparable: Comparable): Mapper =>
  (student, teacher) =>
    mapLayers(student, teacher, comparable);

const axesThatDiffer = (a: readonly number[], b: readonly number[]): readonly number[] =>
  a.flatMap((size, axis) => (size === b[axis] ? [] : [axis]));
/** Sums and products over channels need maps of one size. */
const mapsOfOneSize: Comparable = (a, b) => a.length >= 3 && a.length === b.length && axesThatDiffer(a, b).every((axis) => axis === 1);
/** Products of samples compare anything. */
const ofOneBatch: Comparable = (a, b) => a.length >= 2 && b.length >= 2 && a[0] === b[0];

/** A regressor changes one width. */
const mappers: Readonly<Record<HintKind, Mapper>> = {
  attention: layersThat(mapsOfOneSize),
  affinity: layersThat(mapsOfOneSize),
  feature: layersThat((a, b) => a.length >= 2 && a.length === b.length && axesThatDiffer(a, b).length <= 1 && a[0] === b[0]),
  similarity: layersThat(ofOneBatch),
  relation: layersThat(ofOneBatch),
  'relation-angles': layersThat(ofOneBatch),
  'attention-map': (student, teacher) => lastAttentions(student, teacher, 'probabilities'),
  'value-relation': (student, teacher) => lastAttentions(student, teacher, 'values'),
};

function unmapped(kind: string): EngineError {
  return new EngineError(
    'recipe_invalid',
    `No layers of student and teacher were found that "${kind}" can compare: name them with "student" and "teacher".`,
  );
}
