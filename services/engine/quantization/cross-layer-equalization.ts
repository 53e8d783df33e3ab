/** Cross-layer equalization: moves range from loud to quiet channels between layers, so that one scale fits all of them. */
import { graphsWithin, type Model, type Node, type Value } from '../ir/index.js';
import { reportName, WeightStore } from '../layers/weight-store.js';
import type { NodeChange } from '../method.js';
import { type ChannelWeights, channelWeights } from './channel-weights.js';
import { isHomogeneous } from './homogeneous-operators.js';

const BY = 'cross-layer-equalization';
const FACTOR_MIN = 1e-2;
const FACTOR_MAX = 1e2;
/** A sweep that moves no factor by more than this share is the last one. */
const CHANGE_MIN = 1e-3;
const SWEEPS_MAX = 100;

/**
 * Nagel et al. 2019 (Data-Free Quantization, arXiv 1906.04721), section 4.1; depthwise triples as in AIMET. Factors s_i per
 * channel between two layers: the first is divided, the second multiplied, and the function is what it was. Returns the layers
 * that changed. Fold BatchNormalization first; ranges of activations that were observed before no longer hold.
 */
export function equalizeLayers(model: Model): readonly NodeChange[] {
  const store = new WeightStore(model);
  const steps = equalizationSteps(model, store);
  let isSettled = steps.length === 0;
  for (let sweep = 0; sweep < SWEEPS_MAX && !isSettled; sweep += 1) {
    const changes = steps.map((step) => step.equalize());
    isSettled = changes.every((change) => change < CHANGE_MIN);
  }
  const partners = new Map<ChannelWeights, Set<ChannelWeights>>();
  for (const { layers, isEffective } of steps) {
    if (!isEffective) continue;
    for (const layer of layers) partners.set(layer, new Set([...(partners.get(layer) ?? []), ...layers]));
  }
  return [...partners].map(([layer, all]) => {
    layer.write(store);
    const others = [...all].filter((other) => other !== layer).map(({ node }) => reportName(node));
    const reason = `ranges of its channels equalized with ${others.join(', ')}; the model computes the same`;
    return { node: reportName(layer.node), op_type: layer.node.opType, action: 'changed', by: BY, reason };
  });
}

interface EqualizationStep {
  readonly layers: readonly ChannelWeights[];
  /** True once a factor differs from 1 by more than rounding. */
  readonly isEffective: boolean;
  /** Scales the layers; returns the largest |s - 1|. */
  equalize(): number;
}

/** The factors of the channels between two layers, bounded over all sweeps together. */
class Link {
  private readonly total: Float64Array;

  constructor(
    readonly first: ChannelWeights,
    readonly second: ChannelWeights,
  ) {
    this.total = new Float64Array(first.channels('output')).fill(1);
  }

  get isEffective(): boolean {
    return this.total.some((factor) => Math.abs(factor - 1) >= CHANGE_MIN);
  }

  /** First layer / s, second layer * s. */
  apply(wanted: Float64Array): number {
    let change = 0;
    const factors = wanted.map((factor, channel) => {
      const before = this.total[channel] ?? 1;
      const after = Math.min(FACTOR_MAX, Math.max(FACTOR_MIN, before * factor));
      this.total[channel] = after;
      change = Math.max(change, Math.abs(after / before - 1));
      return after / before;
    });
    if (change === 0) return 0;
    this.first.scale(
      'output',
      factors.map((factor) => 1 / factor),
    );
    this.second.scale('input', factors);
    return change;
  }
}

/** r1_i = max |W1[i, :]|, r2_i = max |W2[:, i]|, s_i = r1_i / sqrt(r1_i r2_i): both ranges become sqrt(r1_i r2_i). */
class Pair implements EqualizationStep {
  constructor(private readonly link: Link) {}

  get layers(): readonly ChannelWeights[] {
    return [this.link.first, this.link.second];
  }

  get isEffective(): boolean {
    return this.link.isEffective;
  }

  equalize(): number {
    const { first, second } = this.link;
    const r2 = second.largest('input');
    return this.link.apply(first.largest('output').map((r1, i) => ratioOrOne(r1, Math.sqrt(r1 * (r2[i] ?? 0)))));
  }
}

/** c = (r1 r2 r3)^(1/3), s12 = r1 / c, s23 = c / r3: all three ranges become c. */
class DepthwiseTriple implements EqualizationStep {
  constructor(
    private readonly before: Link,
    private readonly after: Link,
  ) {}

  get layers(): readonly ChannelWeights[] {
    return [this.before.first, this.before.second, this.after.second];
  }

  get isEffective(): boolean {
    return this.before.isEffective || this.after.isEffective;
  }

  equalize(): number {
    const r1 = this.before.first.largest('output');
    const r2 = this.before.second.largest('output');
    const r3 = this.after.second.largest('input');
    const common = r1.map((range, i) => Math.cbrt(range * (r2[i] ?? 0) * (r3[i] ?? 0)));
    const change = this.before.apply(common.map((c, i) => ratioOrOne(r1[i] ?? 0, c)));
    return Math.max(change, this.after.apply(common.map((c, i) => (c > 0 ? ratioOrOne(c, r3[i] ?? 0) : 1))));
  }
}

/** A channel without weights on one side has no range to share. */
function ratioOrOne(numerator: number, denominator: number): number {
  return numerator > 0 && denominator > 0 ? numerator / denominator : 1;
}

function equalizationSteps(model: Model, store: WeightStore): EqualizationStep[] {
  const layers = new Map<Node, ChannelWeights>();
  for (const graph of graphsWithin(model.graph)) {
    for (const node of graph.nodes) {
      const layer = channelWeights(node, store);
      if (layer) layers.set(node, layer);
    }
  }
  const links = [...layers.values()].flatMap((layer) => linkBehind(layer, layers, store) ?? []);
  const triples: DepthwiseTriple[] = [];
  const taken = new Set<Link>();
  for (const before of links) {
    const after = links.find((link) => link.first === before.second);
    if (!before.second.isDepthwise || !after || taken.has(before) || taken.has(after)) continue;
    triples.push(new DepthwiseTriple(before, after));
    taken.add(before).add(after);
  }
  return [...triples, ...links.filter((link) => !taken.has(link)).map((link) => new Pair(link))];
}

/** The layer behind `first` with only homogeneous operators in between, each the only reader of what it reads. */
function linkBehind(first: ChannelWeights, layers: ReadonlyMap<Node, ChannelWeights>, store: WeightStore): Link | undefined {
  if (!first.canScaleOutputs) return undefined;
  let value: Value | undefined = first.output;
  while (value && value.uses.length === 1 && !store.isGraphOutput(value)) {
    const [use]: Value['uses'] = value.uses;
    if (use?.index !== 0 || use.node.graph !== first.node.graph) return undefined;
    const second = layers.get(use.node);
    if (second) return isConnected(first, second) ? new Link(first, second) : undefined;
    if (!isHomogeneous(use.node, first.channelAxis)) return undefined;
    value = use.node.outputs[0] ?? undefined;
  }
  return undefined;
}

function isConnected(first: ChannelWeights, second: ChannelWeights): boolean {
  return first !== second && first.channelAxis === second.channelAxis && first.channels('output') === second.channels('input');
}
