/** Prunes all weights of a plan: in the order of the graph, each on what its inputs are in the network that is already pruned before it. */
import { cloneModel, float32Tensor, float32Values, type Model, type Node } from '../ir/index.js';
import { hasShiftableBias, shiftBias } from '../layers/bias-shift.js';
import { type LayerPass, layerPasses } from '../layers/layer-passes.js';
import { portions } from '../layers/portions.js';
import { type Constant, WeightStore } from '../layers/weight-store.js';
import type { MethodContext, RunSource } from '../method.js';
import { type MeanTensor, meanOutputs } from '../normal-equations/mean-outputs.js';
import { exposeStates, inputSums, twinsIn } from './input-sums.js';
import type { Criterion } from './options.js';
import type { PlannedWeight } from './plan.js';
import { type InputSums, type PrunedMatrix, pruneMatrix } from './prune-matrix.js';

export interface PruningRequest {
  readonly model: Model;
  readonly weights: readonly PlannedWeight[];
  readonly criterion: Criterion;
  /** Shares of the zeros after each step, ascending to 1. */
  readonly shares: readonly number[];
  /** Without samples, the criterion must be 'magnitude'. */
  readonly samples?: RunSource;
  readonly correctBiases: boolean;
  readonly context: MethodContext;
}

export interface PrunedWeight extends PrunedMatrix {
  /** To be added to the bias of the layer that reads the weight; absent where no bias is corrected. */
  readonly biasShift?: Float64Array;
}

/** Each pass runs the part of the network before it; deeper networks take several levels at once. */
const PASSES_MAX = 8;
/** Sums over inputs that are held at a time: 128 MiB. */
const SUMS_MAX = 2 ** 24;

/** The model itself stays as it is. A weight whose inputs cannot be seen is pruned by its magnitudes. */
export async function pruneWeights(request: PruningRequest): Promise<Map<PlannedWeight, PrunedWeight>> {
  const { weights, criterion, shares, samples, context } = request;
  if (samples) return new SequentialPruning(request, { samples, kind: sumKinds[criterion], prune: pruneOne }).run(shares);
  const pruned = new Map<PlannedWeight, PrunedWeight>();
  for (const weight of weights) {
    context.signal.throwIfAborted();
    pruned.set(weight, pruneOne(weight, { values: float32Values(weight.constant.tensor), share: 1, inputs: undefined }));
    context.progress(pruned.size / weights.length, `pruned ${pruned.size} of ${weights.length} weights`);
  }
  return pruned;
}

/** The biases for the pruned weights of `request`, anew: those of a network in which others are pruned, too, correct too much. */
export async function correctAgain(
  request: Omit<PruningRequest, 'weights' | 'criterion' | 'shares'>,
  pruned: ReadonlyMap<PlannedWeight, PrunedWeight>,
): Promise<ReadonlyMap<PlannedWeight, PrunedWeight>> {
  const { samples, correctBiases } = request;
  if (!samples || !correctBiases) return pruned;
  const bare = new Map([...pruned].map(([weight, { values, criterion }]) => [weight, { values, criterion }]));
  const prune = (weight: PlannedWeight, { values }: WeightState): PrunedMatrix => bare.get(weight) ?? { values, criterion: 'magnitude' };
  return new SequentialPruning({ ...request, weights: [...pruned.keys()] }, { samples, kind: null, prune }).run([1]);
}

/** What there is to prune a weight by. */
interface WeightState {
  readonly values: Float32Array;
  readonly share: number;
  readonly inputs: InputSums | undefined;
}

function pruneOne({ readers, pattern, fraction }: PlannedWeight, { values, share, inputs }: WeightState): PrunedMatrix {
  return pruneMatrix(values, readers[0].form, { rule: { pattern, fraction: fraction * share }, inputs });
}

interface Layer {
  readonly node: Node;
  readonly weight: PlannedWeight;
}

const sumKinds = { magnitude: null, wanda: 'squares', sparsegpt: 'gram' } as const;

/** The network as it will be: a copy with the pruned weights and the corrected biases in their places. */
class SequentialPruning {
  private readonly copy: Model;
  private readonly store: WeightStore;
  private readonly twins: ReadonlyMap<Node, Node>;
  /** In the order of the constants of the model. */
  private readonly constants: Constant[];
  private readonly pruned = new Map<PlannedWeight, PrunedWeight>();

  constructor(
    private readonly request: Pick<PruningRequest, 'model' | 'weights' | 'correctBiases' | 'context'>,
    private readonly means: PruningMeans,
  ) {
    this.copy = cloneModel(request.model);
    this.store = new WeightStore(this.copy);
    this.twins = twinsIn(this.copy, request.model);
    this.constants = this.store.all();
    exposeStates(this.copy, this.store);
  }

  async run(shares: readonly number[]): Promise<Map<PlannedWeight, PrunedWeight>> {
    const { model, weights: planned, context } = this.request;
    const layers = planned.flatMap((weight): Layer[] => {
      const reader = weight.readers.find(({ node }) => node.graph === model.graph);
      return reader ? [{ node: reader.node, weight }] : [];
    });
    const passes = layerPasses(model.graph, layers, PASSES_MAX);
    const dense = await this.denseMeans(passes);
    const hidden = planned.filter((weight) => !layers.some((layer) => layer.weight === weight));
    await this.prune(hidden, 1);
    for (const [step, share] of shares.entries()) {
      for (const [at, pass] of passes.entries()) {
        const weights = pass.layers.map(({ weight }) => weight);
        for (const part of portions(weights, SUMS_MAX, (weight) => sumsOf(weight, this.means.kind))) await this.prune(part, share);
        await this.correct(weights, dense);
        context.progress((step + (at + 1) / passes.length) / shares.length, `step ${step + 1} of ${shares.length}`);
      }
    }
    return this.pruned;
  }

  private async prune(weights: readonly PlannedWeight[], share: number): Promise<void> {
    const { context } = this.request;
    const { samples, kind } = this.means;
    const request = { model: this.copy, weights, samples, context, twinOf: (node: Node) => this.twins.get(node) };
    const sums = kind ? await inputSums({ ...request, kind }) : new Map<PlannedWeight, InputSums>();
    for (const weight of weights) {
      context.signal.throwIfAborted();
      const constant = this.constants[weight.position];
      if (!constant) throw new Error(`the copy has no weight "${weight.constant.value.name}"`);
      const result = this.means.prune(weight, { values: float32Values(constant.tensor), share, inputs: sums.get(weight) });
      this.pruned.set(weight, { ...this.pruned.get(weight), ...result });
      this.constants[weight.position] = this.store.replace(constant, float32Tensor(constant.tensor.dims, result.values));
    }
  }

  /** Where the biases of layers are corrected, and the means there in the dense model. */
  private async denseMeans(passes: readonly LayerPass<Layer>[]): Promise<DenseMeans> {
    const { model, correctBiases, context } = this.request;
    const tensors = new Map<PlannedWeight, MeanTensor>();
    for (const pass of correctBiases ? passes : []) {
      for (const layer of pass.layers) {
        const tensor = this.correctable(layer) ? meanTensor(layer, pass.targetOf(layer)?.name) : null;
        if (tensor) tensors.set(layer.weight, tensor);
      }
    }
    return { tensors, means: await meanOutputs({ model, tensors: [...tensors.values()], samples: this.means.samples, context }) };
  }

  private correctable({ node, weight }: Layer): boolean {
    const twin = this.twins.get(node);
    return weight.readers.length === 1 && twin !== undefined && hasShiftableBias(this.store, twin, weight.readers[0].form.matrix.rows);
  }

  /** b += mean in the dense network - mean in this one, at the end of the sum in which the layer stands (methods.md 3.2). */
  private async correct(weights: readonly PlannedWeight[], { tensors, means }: DenseMeans): Promise<void> {
    const own = weights.flatMap((weight) => tensors.get(weight) ?? []);
    const now = await meanOutputs({ model: this.copy, tensors: own, samples: this.means.samples, context: this.request.context });
    for (const weight of weights) {
      const { name = '' } = tensors.get(weight) ?? {};
      const [before, after, pruned] = [means.get(name), now.get(name), this.pruned.get(weight)];
      const twin = this.twins.get(weight.readers[0].node);
      if (!before || !after || !pruned || !twin) continue;
      const shift = before.map((mean, channel) => mean - (after[channel] ?? 0));
      if (!shift.every(Number.isFinite) || !shiftBias(this.store, twin, shift)) continue;
      this.pruned.set(weight, { ...pruned, biasShift: shift.map((value, channel) => value + (pruned.biasShift?.[channel] ?? 0)) });
    }
  }
}

interface PruningMeans {
  readonly samples: RunSource;
  /** What is summed of the inputs; null for nothing. */
  readonly kind: InputSums['kind'] | null;
  prune(weight: PlannedWeight, state: WeightState): PrunedMatrix;
}

interface DenseMeans {
  readonly tensors: ReadonlyMap<PlannedWeight, MeanTensor>;
  /** By the name of the tensor. */
  readonly means: ReadonlyMap<string, Float64Array>;
}

function meanTensor({ node, weight }: Layer, name: string | undefined): MeanTensor | null {
  if (name === undefined) return null;
  return { name, channels: weight.readers[0].form.matrix.rows, axis: node.opType === 'MatMul' ? 'last' : 'second' };
}

/** Elements of the sums over the inputs of a weight. */
function sumsOf({ readers }: PlannedWeight, kind: InputSums['kind'] | null): number {
  const { layout, matrix } = readers[0].form;
  return layout.groups * matrix.depth ** (kind === 'gram' ? 2 : 1);
}
