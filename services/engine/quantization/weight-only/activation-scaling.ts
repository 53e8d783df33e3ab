/** AWQ in the graph: every product gets the scaled weight, its input the division, inside the nodes that make it or by a Mul. */
import { float32Tensor, type Model, type Node, type Value } from '../../ir/index.js';
import { type Constant, reportName, WeightStore } from '../../layers/weight-store.js';
import type { MethodContext } from '../../method.js';
import { type ScaleSearch, scaledRows, searchScales } from './activation-aware-scaling.js';
import { inputMoments } from './input-moments.js';
import { OutputErrors } from './output-error.js';
import { foldDivision } from './scale-folding.js';
import { depthOf, type FittingTask, observedInput, SAMPLES_MAX, wavesOf } from './weight-fitting.js';
import { rowsOf, tensorOfRows } from './weight-matrices.js';

/** A Mul in front of the product costs time in every run: its gain must be clear. */
const GAIN_OF_A_MUL = 0.9;

/** Products of one input; nothing else reads their weights. */
interface ScalableGroup {
  readonly activation: Value;
  readonly tasks: readonly FittingTask[];
  readonly products: ReadonlySet<Node>;
}

/** Scales the model in place; what it computes stays the same. Returns where the division went, by the name of each scaled product. */
export async function scaleActivations(model: Model, tasks: readonly FittingTask[], context: MethodContext): Promise<Map<string, string>> {
  const scaled = new Map<string, string>();
  const scaling = new ActivationScaling(model);
  const errors = await OutputErrors.open(context.runtime);
  try {
    for (const wave of wavesOf(tasks, { model, algorithm: 'awq', context })) {
      const groups = scalableGroups(wave, model);
      const inputs = groups.map(({ activation, tasks: [first] }) => ({ name: activation.name, depth: first ? depthOf(first) : 0 }));
      const moments = await inputMoments(model, inputs, { context, sampleLimit: SAMPLES_MAX });
      for (const group of groups) {
        context.signal.throwIfAborted();
        const known = moments.get(group.activation.name);
        const matrices = group.tasks.map(({ weight, scheme }) => ({ rows: rowsOf(weight.constant.tensor, weight.axis), scheme }));
        const search = known && (await searchScales({ matrices, depth: matrices[0]?.rows.depth ?? 0, moments: known }, errors));
        const place = search ? scaling.apply(group, search) : null;
        if (place) for (const node of group.products) scaled.set(reportName(node), place);
      }
    }
    return scaled;
  } finally {
    await errors.close();
  }
}

function scalableGroups(tasks: readonly FittingTask[], model: Model): ScalableGroup[] {
  const byInput = new Map<Value, FittingTask[]>();
  for (const task of tasks) {
    const activation = observedInput(task, model);
    if (activation) byInput.set(activation, [...(byInput.get(activation) ?? []), task]);
  }
  return [...byInput].flatMap(([activation, group]): ScalableGroup[] => {
    const isOwn = ({ weight }: FittingTask): boolean =>
      weight.lookups.length === 0 &&
      weight.products.every((product) => product.activation === activation && product.node.graph === model.graph);
    const own = group.filter(isOwn);
    const products = new Set(own.flatMap(({ weight }) => weight.products.map(({ node }) => node)));
    return own.length > 0 ? [{ activation, tasks: own, products }] : [];
  });
}

class ActivationScaling {
  private readonly store: WeightStore;

  constructor(private readonly model: Model) {
    this.store = new WeightStore(model);
  }

  /** Null when the division would cost more than it gains. */
  apply({ activation, tasks, products }: ScalableGroup, { factors, gain }: ScaleSearch): string | null {
    const isFolded = foldDivision(activation, factors, { readers: products, store: this.store });
    if (!isFolded && gain > GAIN_OF_A_MUL) return null;
    const [first] = tasks;
    if (!isFolded && first) this.divideInFront(activation, { factors, products, neighbour: first.weight.constant });
    for (const { weight } of tasks) {
      const { constant, axis } = weight;
      const tensor = tensorOfRows(scaledRows(rowsOf(constant.tensor, axis), factors), axis);
      const replacement = this.store.add(constant, '_scaled', tensor).value;
      for (const { node, index } of constant.value.uses) node.setInput(index, replacement);
      this.store.dropIfUnread(constant);
    }
    return isFolded ? 'the nodes before it' : 'a Mul in front of it';
  }

  private divideInFront(activation: Value, how: { factors: Float32Array; products: ReadonlySet<Node>; neighbour: Constant }): void {
    const { factors, products, neighbour } = how;
    const { graph } = this.model;
    const first = graph.nodes.find((node) => products.has(node));
    if (!first) return;
    const divided = this.store.newValue(`${activation.name}_scaled`);
    const inverse = factors.map((factor) => 1 / factor);
    const inputs = [activation, this.store.add(neighbour, '_division', float32Tensor([inverse.length], inverse)).value];
    graph.insertBefore(first, this.store.newNode({ opType: 'Mul', inputs, outputs: [divided] }, divided.name));
    for (const node of products) node.setInput(0, divided);
  }
}
