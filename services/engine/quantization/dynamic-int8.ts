/** Method dynamic-int8: int8 weights everywhere, integer arithmetic where this machine measures that it is faster. */

import { cloneModel } from '../ir/clone-model.js';
import { type Graph, graphsWithin, type Model, type Node, type Value } from '../ir/index.js';
import { type DenseLayer, denseLayer } from '../layers/dense-layers.js';
import { type EmbeddingLookup, embeddingLookup } from '../layers/embedding-tables.js';
import { nameMatcher } from '../layers/name-patterns.js';
import { type Constant, reportName, WeightStore } from '../layers/weight-store.js';
import type { MethodContext, NodeChange } from '../method.js';
import { type ObservedActivation, observeActivations } from '../timing/observed-activations.js';
import { runsOnTarget } from '../timing/target-machine.js';
import { timeModels } from '../timing/whole-model-timing.js';
import { activationOf, type ComputeDecision, type ComputeLayer, planCompute } from './compute-plan.js';
import { bytesSaved, Int8Weight } from './int8-weights.js';
import { rewriteDense, rewriteEmbedding, rewriteLstm } from './integer-rewriting.js';
import { type ProductGroup, productGroups } from './product-groups.js';
import { lstmLayer } from './recurrent-layers.js';

export interface DynamicInt8Options {
  /** One scale per output channel (default) or one per weight. Equally fast, and measurably more accurate per channel. */
  readonly per_channel?: boolean;
  /** Operators that may be changed; default MatMul, Gemm, LSTM and Gather. */
  readonly op_types?: readonly string[];
  /** Names of nodes to leave alone; * stands for any characters. */
  readonly exclude?: readonly string[];
  /** Whether embedding tables are stored as int8. Default true. */
  readonly embeddings?: boolean;
}

const METHOD = 'dynamic-int8';
const changeableOperators = ['MatMul', 'Gemm', 'LSTM', 'Gather'];

type Layer = ComputeLayer | EmbeddingLookup;
type Plans = ReadonlyMap<Layer, ComputeDecision | null>;
type Readers = ReadonlyMap<Constant, readonly Layer[]>;
type Groups = ReadonlyMap<DenseLayer, ProductGroup>;
type Weights = ReadonlyMap<Constant, Int8Weight>;
type Decisions = ReadonlyMap<ComputeLayer, ComputeDecision>;
type Observations = ReadonlyMap<Value, ObservedActivation>;

/** Operators that hold weights and that this method never changes, with what to do instead. */
const untouchedOperators: ReadonlyMap<string, string> = new Map([
  [
    'Conv',
    'integer convolutions over activations quantized at run time are slower than float32; use static int8 with samples, or float16-storage',
  ],
  ['ConvTranspose', 'the runtime has no integer kernel for it; use float16-storage'],
  ['GRU', 'the runtime has no integer kernel for it; use float16-storage'],
  ['RNN', 'the runtime has no integer kernel for it; use float16-storage'],
  ['Attention', 'the fused attention keeps its float32 weights; export the model with separate MatMul nodes to quantize them'],
]);

export async function dynamicInt8(model: Model, options: DynamicInt8Options, context: MethodContext): Promise<NodeChange[]> {
  const rewriting = new DynamicInt8Rewriting(model, options, context);
  return rewriting.run();
}

class DynamicInt8Rewriting {
  private readonly store: WeightStore;
  private readonly isExcluded: (name: string) => boolean;
  private readonly changes: NodeChange[] = [];
  private readonly layers = new Map<Node, Layer>();
  private readonly graphs: readonly Graph[];

  constructor(
    private readonly model: Model,
    private readonly options: DynamicInt8Options,
    private readonly context: MethodContext,
  ) {
    this.store = new WeightStore(model);
    this.graphs = [...graphsWithin(model.graph)];
    this.isExcluded = nameMatcher(options.exclude ?? []);
  }

  async run(): Promise<NodeChange[]> {
    this.findLayers();
    const computed = [...this.layers.values()].filter((layer) => layer.kind !== 'embedding');
    const observed = await observeActivations(this.model, computed.map(activationOf), this.context);
    const decisions = await planCompute(computed, observed, this.context);
    this.rewrite(await this.confirmed(decisions, observed), observed);
    return this.changes;
  }

  private findLayers(): void {
    for (const graph of this.graphs) for (const node of graph.nodes) this.recognise(node);
    this.leaveLayersOfSharedFloatWeights();
  }

  /** The decisions as they are when the whole model gains by them, too; otherwise storage for every layer. */
  private async confirmed(decisions: Decisions, observed: Observations): Promise<Decisions> {
    const integer = [...decisions].filter(([, { form }]) => form === 'integer');
    if (integer.length === 0 || !runsOnTarget(this.context)) return decisions;
    const timing = await timeModels(this.model, this.rewrittenCopy(decisions, observed), this.context);
    if (!timing || timing.after <= timing.before) return decisions;
    const times = `${timing.before.toPrecision(3)} ms in float32, ${timing.after.toPrecision(3)} ms with integer layers`;
    const stored = ({ ground }: ComputeDecision): ComputeDecision => ({
      form: 'stored',
      ground: `the model as a whole would be slower with integer layers: ${times} (this layer alone: ${ground})`,
    });
    return new Map([...decisions].map(([layer, decision]) => [layer, decision.form === 'integer' ? stored(decision) : decision]));
  }

  /** A copy of the model with these decisions carried out; layers are found in the same order in both. */
  private rewrittenCopy(decisions: Decisions, observed: Observations): Model {
    const copy = cloneModel(this.model);
    const twin = new DynamicInt8Rewriting(copy, this.options, this.context);
    twin.findLayers();
    const ours = [...this.layers.values()];
    const twinDecisions = new Map<ComputeLayer, ComputeDecision>();
    const twinObserved = new Map<Value, ObservedActivation>();
    for (const [index, layer] of [...twin.layers.values()].entries()) {
      const original = ours[index];
      if (layer.kind === 'embedding' || !original || original.kind === 'embedding') continue;
      const decision = decisions.get(original);
      const activation = observed.get(activationOf(original));
      if (decision) twinDecisions.set(layer, decision);
      if (activation) twinObserved.set(activationOf(layer), activation);
    }
    twin.rewrite(twinDecisions, twinObserved);
    return copy;
  }

  private report(node: Node, action: NodeChange['action'], reason: string): void {
    this.changes.push({ node: reportName(node), op_type: node.opType, action, by: METHOD, reason });
  }

  private recognise(node: Node): void {
    const untouched = untouchedOperators.get(node.opType);
    if (untouched && (node.domain === '' || node.opType === 'Attention')) this.report(node, 'left', untouched);
    if (node.domain !== '' || !changeableOperators.includes(node.opType)) return;
    const found = this.layerOf(node);
    if (!found) return;
    if ('reason' in found) this.report(node, 'left', found.reason);
    else this.layers.set(node, found);
  }

  private layerOf(node: Node): Layer | { readonly reason: string } | null {
    const found =
      node.opType === 'Gather'
        ? embeddingLookup(node, this.store)
        : node.opType === 'LSTM'
          ? lstmLayer(node, this.store)
          : denseLayer(node, this.store);
    if (!found || 'reason' in found) return found;
    if (this.options.op_types && !this.options.op_types.includes(node.opType)) return { reason: `op_types does not name ${node.opType}` };
    if (this.isExcluded(reportName(node))) return { reason: 'excluded by the recipe' };
    if (found.kind === 'embedding') return this.options.embeddings === false ? { reason: 'embeddings is false in the recipe' } : found;
    const saved = weightsOf(found).reduce((sum, { tensor }) => sum + bytesSaved(tensor, scaleCountOf(found)), 0);
    return saved > 0 ? found : { reason: 'its weight is so small that int8 would not make the file smaller' };
  }

  /** A weight that something else needs in float32 would only be stored twice; repeated, as leaving one layer may strand another. */
  private leaveLayersOfSharedFloatWeights(): void {
    for (let changed = true; changed; ) {
      changed = false;
      for (const [node, layer] of this.layers) {
        const stranger = weightsOf(layer)
          .map((weight) => this.strangerReading(weight))
          .find((found) => found !== undefined);
        if (stranger === undefined) continue;
        this.layers.delete(node);
        this.report(node, 'left', `its weight is also needed in float32 by ${stranger}`);
        changed = true;
      }
    }
  }

  /** What reads the weight in another way than as the weight of a layer that will be changed. */
  private strangerReading({ value }: Constant): string | undefined {
    if (this.store.isGraphOutput(value)) return 'the outputs of the graph';
    for (const { node, index } of value.uses) {
      const isTie =
        node.opType === 'Transpose' && node.domain === '' && !node.outputs.some((output) => output && this.store.isGraphOutput(output));
      const readers = isTie ? (node.outputs[0]?.uses ?? []) : [{ node, index }];
      const stranger = readers.find((use) => !this.readsAsWeight(use, value));
      if (stranger) return `${stranger.node.opType} ${reportName(stranger.node)}`;
    }
    return undefined;
  }

  private readsAsWeight({ node, index }: { node: Node; index: number }, value: Value): boolean {
    const layer = this.layers.get(node);
    if (!layer) return false;
    if (layer.kind === 'lstm') return (index === 1 && layer.weight.value === value) || (index === 2 && layer.recurrence.value === value);
    return layer.kind === 'dense' ? index === 1 && layer.weight.value === value : index === 0;
  }

  /** Layers in graph order with what becomes of them; null for table lookups, which compute nothing. */
  private plansOf(decisions: Decisions): Map<Layer, ComputeDecision | null> {
    const axes = new Map<Constant, 0 | 1>();
    const plans = new Map<Layer, ComputeDecision | null>();
    for (const layer of this.layers.values()) {
      plans.set(layer, layer.kind === 'embedding' ? null : (decisions.get(layer) ?? null));
      if (layer.kind !== 'dense') continue;
      const axis = axes.get(layer.weight) ?? layer.reductionAxis;
      axes.set(layer.weight, axis);
      // Scales run along one axis: a second layer that sums over the other axis can share the stored codes only.
      if (axis !== layer.reductionAxis)
        plans.set(layer, { form: 'stored', ground: 'another layer sums over the other axis of the same weight' });
    }
    return plans;
  }

  private rewrite(decisions: Decisions, observed: Observations): void {
    const plans = this.plansOf(decisions);
    const readers = readersOf(plans.keys());
    const groups = this.smoothedGroups(plans, { readers, observed });
    const weights = this.int8Weights(plans, { readers, groups });
    for (const [layer, plan] of plans) {
      this.context.signal.throwIfAborted();
      this.reportLayer(layer, plan, { weights, groups });
      if (layer.kind === 'embedding') this.rewriteLookup(layer, weights);
      else if (plan?.form === 'integer') this.rewriteCompute(layer, { weights, groups });
      else for (const weight of weightsOf(layer)) weightIn(weights, weight).widenAtLoad();
    }
    for (const constant of weights.keys()) this.dropFloatWeight(constant);
    const usesContribOperators = [...plans.values()].some((plan) => plan?.form === 'integer');
    if (usesContribOperators && !this.model.opsetImports.has('com.microsoft')) this.model.opsetImports.set('com.microsoft', 1);
  }

  private smoothedGroups(plans: Plans, { readers, observed }: { readers: Readers; observed: Observations }): Groups {
    const products = [...plans].flatMap(([layer, plan]) => (layer.kind === 'dense' && plan?.form === 'integer' ? [layer] : []));
    const groups = productGroups(products);
    for (const group of new Set(groups.values())) {
      const [first] = group.layers;
      if (first?.node.graph !== this.model.graph) continue;
      const isReadElsewhere = (layer: DenseLayer): boolean =>
        (readers.get(layer.weight) ?? []).some((reader) => reader.kind !== 'dense' || groups.get(reader) !== group);
      group.smooth(observed.get(first.activation), isReadElsewhere);
    }
    return groups;
  }

  private int8Weights(plans: Plans, { readers, groups }: { readers: Readers; groups: Groups }): Weights {
    const weights = new Map<Constant, Int8Weight>();
    for (const [constant, layers] of readers) {
      const isInteger = (layer: Layer): boolean => plans.get(layer)?.form === 'integer';
      const dense = layers.find((layer) => layer.kind === 'dense');
      const form = {
        perChannel: layers.every((layer) => layer.kind === 'embedding') || (this.options.per_channel ?? true),
        pairSafe: this.context.target === 'x64' && layers.some(isInteger),
        reductionAxis: dense?.reductionAxis ?? 1,
        keepsLayout: layers.some((layer) => !isInteger(layer)),
        factors: dense && groups.get(dense)?.factors,
      };
      weights.set(constant, new Int8Weight(this.store, constant, form));
    }
    return weights;
  }

  private rewriteCompute(layer: ComputeLayer, { weights, groups }: { weights: Weights; groups: Groups }): void {
    const weight = weightIn(weights, layer.weight);
    if (layer.kind === 'lstm') {
      rewriteLstm(this.store, layer, { weight, recurrence: weightIn(weights, layer.recurrence) });
      return;
    }
    const input = groups.get(layer)?.inputFor(layer, this.store, this.model.opset) ?? { activation: layer.activation };
    rewriteDense(this.store, layer, { weight, input });
  }

  private rewriteLookup(layer: EmbeddingLookup, weights: Weights): void {
    rewriteEmbedding(this.store, layer, weightIn(weights, layer.table));
  }

  private reportLayer(layer: Layer, plan: ComputeDecision | null, { weights, groups }: { weights: Weights; groups: Groups }): void {
    const counts = weightsOf(layer).map((weight) => weightIn(weights, weight).scaleCount);
    const scales = `${counts.join(' and ')} scale${counts.join() === '1' ? '' : 's'}`;
    if (layer.kind === 'embedding')
      this.report(layer.node, 'changed', `table stored as int8 with ${scales}; only the rows that are looked up are widened`);
    else if (plan?.form !== 'integer')
      this.report(
        layer.node,
        'changed',
        `weight stored as int8 with ${scales} and widened to float32 when the model is loaded: ${plan?.ground}`,
      );
    else {
      const smoothed =
        layer.kind === 'dense' && groups.get(layer)?.factors ? ', outlier channels of the activation moved into the weight' : '';
      this.report(layer.node, 'changed', `int8 weight with ${scales}, activation quantized at run time${smoothed}: ${plan.ground}`);
    }
    if (layer.kind === 'dense' && plan?.form === 'integer' && layer.bias?.add) {
      this.report(layer.bias.add, 'removed', `its bias is now added inside the integer product ${reportName(layer.node)}`);
    }
  }

  /** Also drops the Transpose through which a tied weight was read. */
  private dropFloatWeight(constant: Constant): void {
    for (const reader of constant.value.consumers) {
      const isUnread = reader.outputs.every((output) => !output || (!output.isRead && !this.store.isGraphOutput(output)));
      if (reader.opType === 'Transpose' && isUnread) reader.graph?.remove([reader]);
    }
    this.store.dropIfUnread(constant);
  }
}

function readersOf(layers: Iterable<Layer>): Readers {
  const readers = new Map<Constant, Layer[]>();
  for (const layer of layers) for (const weight of weightsOf(layer)) readers.set(weight, [...(readers.get(weight) ?? []), layer]);
  return readers;
}

function weightsOf(layer: Layer): Constant[] {
  if (layer.kind === 'embedding') return [layer.table];
  return layer.kind === 'dense' ? [layer.weight] : [layer.weight, layer.recurrence];
}

function weightIn(weights: Weights, constant: Constant): Int8Weight {
  const weight = weights.get(constant);
  if (!weight) throw new Error(`weight ${constant.value.name} was not quantized`);
  return weight;
}

function scaleCountOf(layer: ComputeLayer): number {
  return layer.kind === 'dense' ? layer.channels : layer.directions * 4 * layer.hiddenSize;
}
