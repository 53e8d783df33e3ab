/** Prunes all weights of a plan: in the order of the graph, each on what its inputs are in the network that is already pruned before it. */
import { cloneModel, float32Tensor, float32Values, type Model, type Node } from '../ir/index.js';
import { layerPasses } from '../layers/layer-passes.js';
import { type Constant, WeightStore } from '../layers/weight-store.js';
import type { MethodContext, RunSource } from '../method.js';
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
  /** Needed by all criteria but 'magnitude'. */
  readonly samples?: RunSource;
  readonly context: MethodContext;
}

/** Each pass runs the part of the network before it; deeper networks take several levels at once. */
const PASSES_MAX = 8;

/** Sums over inputs that are held at a time: 128 MiB. */
const SUMS_MAX = 2 ** 24;

/** The model itself stays as it is. A weight whose inputs cannot be seen is pruned by its magnitudes. */
export async function pruneWeights(request: PruningRequest): Promise<Map<PlannedWeight, PrunedMatrix>> {
  const { weights, criterion, samples, context } = request;
  if (criterion !== 'magnitude' && samples)
    return new SequentialPruning(request, { samples, kind: criterion === 'wanda' ? 'squares' : 'gram' }).run();
  const pruned = new Map<PlannedWeight, PrunedMatrix>();
  for (const weight of weights) {
    context.signal.throwIfAborted();
    pruned.set(weight, pruneOne(weight, { values: float32Values(weight.constant.tensor), share: 1, inputs: undefined }));
    context.progress(pruned.size / weights.length, `pruned ${pruned.size} of ${weights.length} weights`);
  }
  return pruned;
}

function pruneOne(
  { readers, pattern, fraction }: PlannedWeight,
  { values, share, inputs }: { values: Float32Array; share: number; inputs: InputSums | undefined },
): PrunedMatrix {
  return pruneMatrix(values, readers[0].form, { rule: { pattern, fraction: fraction * share }, inputs });
}

interface Layer {
  readonly node: Node;
  readonly weight: PlannedWeight;
}

/** The network as it will be: a copy with the pruned weights in their places. */
class SequentialPruning {
  private readonly copy: Model;
  private readonly store: WeightStore;
  private readonly twins: ReadonlyMap<Node, Node>;
  /** In the order of the constants of the model. */
  private readonly constants: Constant[];
  private readonly pruned = new Map<PlannedWeight, PrunedMatrix>();

  constructor(
    private readonly request: PruningRequest,
    private readonly seen: { readonly samples: RunSource; readonly kind: InputSums['kind'] },
  ) {
    this.copy = cloneModel(request.model);
    this.store = new WeightStore(this.copy);
    this.twins = twinsIn(this.copy, request.model);
    this.constants = this.store.all();
    exposeStates(this.copy, this.store);
  }

  async run(): Promise<Map<PlannedWeight, PrunedMatrix>> {
    const { model, weights: planned, shares, context } = this.request;
    const layers = planned.flatMap((weight): Layer[] => {
      const reader = weight.readers.find(({ node }) => node.graph === model.graph);
      return reader ? [{ node: reader.node, weight }] : [];
    });
    const hidden = planned.filter((weight) => !layers.some((layer) => layer.weight === weight));
    const passes = [hidden, ...layerPasses(model.graph, layers, PASSES_MAX).map((pass) => pass.layers.map(({ weight }) => weight))];
    for (const [step, share] of shares.entries()) {
      for (const [at, pass] of passes.entries()) {
        for (const weights of inBoundedMemory(pass, this.seen.kind)) await this.prune(weights, share);
        context.progress((step + (at + 1) / passes.length) / shares.length, `step ${step + 1} of ${shares.length}`);
      }
    }
    return this.pruned;
  }

  private async prune(weights: readonly PlannedWeight[], share: number): Promise<void> {
    const { context } = this.request;
    const { samples, kind } = this.seen;
    const sums = await inputSums({ model: this.copy, weights, samples, kind, context, twinOf: (node) => this.twins.get(node) });
    for (const weight of weights) {
      context.signal.throwIfAborted();
      const constant = this.constants[weight.position];
      if (!constant) throw new Error(`the copy has no weight "${weight.constant.value.name}"`);
      const result = pruneOne(weight, { values: float32Values(constant.tensor), share, inputs: sums.get(weight) });
      this.pruned.set(weight, result);
      this.constants[weight.position] = this.store.replace(constant, float32Tensor(constant.tensor.dims, result.values));
    }
  }
}

/** The weights of a pass in parts, by the sizes of the sums over their inputs. */
function* inBoundedMemory(weights: readonly PlannedWeight[], kind: InputSums['kind']): Generator<PlannedWeight[]> {
  let part: PlannedWeight[] = [];
  let held = 0;
  for (const weight of weights) {
    const { layout, matrix } = weight.readers[0].form;
    const sums = layout.groups * matrix.depth ** (kind === 'gram' ? 2 : 1);
    if (part.length > 0 && held + sums > SUMS_MAX) {
      yield part;
      part = [];
      held = 0;
    }
    part.push(weight);
    held += sums;
  }
  if (part.length > 0) yield part;
}
