/** What the report tells of every layer: its factors, what they cost and lose, and of those that stay, why. */
import type { Node } from '../ir/index.js';
import { reportName } from '../layers/weight-store.js';
import type { LayerReport, NodeChange } from '../method.js';
import type { Candidate } from './candidates.js';
import { isWithinReach, type LayerOffer, type OfferSettings, SIDE_MAX } from './layer-offers.js';
import type { LayerSearch, MatrixLayer } from './matrix-layers.js';
import type { LayerTime } from './measured-forms.js';
import type { ProvenFactors } from './proven-factors.js';
import type { RankChoices } from './rank-choices.js';

const METHOD = 'low-rank';

export interface LowRankFacts {
  readonly search: LayerSearch;
  readonly offers: ReadonlyMap<string, LayerOffer>;
  readonly choices: RankChoices;
  readonly settings: OfferSettings;
  readonly reverted: ReadonlyMap<string, string>;
  readonly proven: ProvenFactors;
}

/** One line for each node that was looked at. */
export function nodeLines(facts: LowRankFacts): NodeChange[] {
  const lines = facts.search.layers.map((layer): NodeChange => {
    const choice = facts.proven.chosen.get(layer.name);
    return choice
      ? line(layer.source.node, 'changed', changeReason(layer, choice, facts))
      : line(layer.source.node, 'left', stayReason(layer, facts));
  });
  return [...lines, ...[...facts.search.left].map(([node, reason]) => line(node, 'left', reason))];
}

export function layerLines({ search, choices, proven }: LowRankFacts): LayerReport[] {
  return search.layers.flatMap(({ name, source, channels, depth }): LayerReport[] => {
    const choice = proven.chosen.get(name);
    if (!choice) return [];
    const time = choices.times.get(name);
    return [
      {
        node: name,
        op_type: source.node.opType,
        form: formWords(choice),
        bytes_before: 4 * channels * depth,
        bytes_after: 4 * choice.cost.parameters,
        ...(choice.sqnr_db === null ? {} : { sqnr_local_db: choice.sqnr_db }),
        ...(time ? { time_before_us: time.before, time_after_us: time.after } : {}),
      },
    ];
  });
}

const formNames = { svd: 'low rank', 'spatial-svd': 'spatial low rank', tucker: 'Tucker rank', cp: 'CP rank' } as const;

function formWords({ form, ranks, full }: Candidate): string {
  return form === 'cp' ? `${formNames.cp} ${ranks}` : `${formNames[form]} ${ranks.join(' x ')} of ${full.join(' x ')}`;
}

function changeReason({ name, channels, depth }: MatrixLayer, choice: Candidate, { choices, proven }: LowRankFacts): string {
  const weights = `${choice.cost.parameters} of ${channels * depth} weights, ${percent(choice.lost)} of the energy lost`;
  return `${formWords(choice)}: ${weights}${timeWords(choices.times.get(name))}; ${proven.ground}`;
}

function timeWords(time: LayerTime | undefined): string {
  return time ? `; ${time.before.toFixed(0)} us as it was, ${time.after.toFixed(0)} us in factors` : '';
}

function stayReason(layer: MatrixLayer, { offers, choices, settings, reverted, proven }: LowRankFacts): string {
  const { name, channels, depth } = layer;
  const returned = reverted.get(name);
  if (returned) return returned;
  const time = choices.times.get(name);
  const slower = choices.slower.get(name);
  if (slower) return `factors would not be faster: ${formWords(slower)} measured${timeWords(time)}`;
  if (choices.chosen.has(name)) return `stays as it is${timeWords(time)}: ${proven.ground}`;
  if (!isWithinReach(layer)) return `its smaller side has ${Math.min(channels, depth)} elements; up to ${SIDE_MAX} are factorised`;
  const { choice, multiple } = settings;
  if (choice.by === 'budget' && (offers.get(name)?.candidates.length ?? 0) > 0) return 'the budget is kept without it';
  const wanted = {
    energy: choice.by === 'energy' ? `keep ${percent(choice.energy)} of the energy` : '',
    evbmf: 'hold all that is signal',
    budget: 'are fewer',
  }[choice.by];
  return `no ranks in multiples of ${multiple} ${wanted} and cost less than the layer`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share > 0.1 ? 0 : 2)} %`;
}

function line(node: Node, action: NodeChange['action'], reason: string): NodeChange {
  return { node: reportName(node), op_type: node.opType, action, by: METHOD, reason };
}
