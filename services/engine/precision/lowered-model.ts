/** From chosen widths to a model: maps rounded, then the weights layer by layer, each fitted to what it now reads and rounded on it. */
import { cloneModel, float32Tensor, type Model, type Node, type Value } from '../ir/index.js';
import { hasShiftableBias, shiftBias } from '../layers/bias-shift.js';
import { channelCount, channelDepth, fromRows } from '../layers/channel-layout.js';
import { layerPasses } from '../layers/layer-passes.js';
import { WeightStore } from '../layers/weight-store.js';
import type { MethodContext, RunSource } from '../method.js';
import { type FitLayer, type FitSums, fitSums, type SplitSums } from '../normal-equations/fit-sums.js';
import { type JoinedModels, joinModels } from '../normal-equations/joined-models.js';
import { NormalEquations, type WeightChange } from '../normal-equations/least-squares.js';
import type { ProbeGraph } from '../normal-equations/probe-graph.js';
import { chooseRidge, meanShift } from '../normal-equations/ridge-choice.js';
import { type MapCodes, type ScaleChoice, WIDEST_BITS } from './narrow-codes.js';
import type { NarrowNetwork, Widths } from './narrow-network.js';
import type { LowerableWeight, NetworkTensors } from './network-tensors.js';
import { roundMaps } from './rounded-maps.js';
import { granularityOf, packedBytes, storeCodes } from './stored-codes.js';
import { type InputProducts, matrixOf, realRows, roundWeights, type WeightCodes, type WeightGranularity } from './weight-codes.js';

export interface LoweringRequest {
  readonly model: Model;
  readonly tensors: NetworkTensors;
  readonly network: NarrowNetwork;
  readonly granularity: WeightGranularity;
  readonly scales: ScaleChoice;
  readonly samples: RunSource;
}

export interface LoweredModel {
  readonly model: Model;
  /** By name of the map. */
  readonly maps: ReadonlyMap<string, MapCodes>;
  /** By name of the weight. */
  readonly weights: ReadonlyMap<string, LoweredWeight>;
}

export interface LoweredWeight {
  readonly bits: number;
  /** Bytes of codes and scales in a memory of exact widths. */
  readonly bytes: number;
  /** Name of the initializer that holds the codes. */
  readonly initializer: string;
}

/** Each pass runs both networks once; deeper ones take several levels at once. */
const PASSES_MAX = 24;
const DEPTH_MAX = 1024;

/** The model itself stays as it is. */
export async function lowerModel(request: LoweringRequest, widths: Widths, context: MethodContext): Promise<LoweredModel> {
  return new ModelLowering(request, widths, context).run();
}

class ModelLowering {
  private readonly copy: Model;
  private readonly store: WeightStore;
  private readonly twins = new Map<Node, Node>();
  private readonly rounded = new Map<LowerableWeight, WeightCodes>();
  private readonly maps: ReadonlyMap<string, MapCodes>;

  constructor(
    private readonly request: LoweringRequest,
    private readonly widths: Widths,
    private readonly context: MethodContext,
  ) {
    const { model, tensors, network } = request;
    this.copy = cloneModel(model);
    for (const [at, node] of model.graph.nodes.entries()) this.twins.set(node, this.copy.graph.nodes[at] as Node);
    this.maps = new Map(
      tensors.maps.flatMap((map) => {
        const width = this.widthOf(map.name);
        return width < WIDEST_BITS ? [[map.name, network.codes(map, width)] as const] : [];
      }),
    );
    roundMaps(this.copy, this.maps);
    this.store = new WeightStore(this.copy);
  }

  private widthOf(name: string): number {
    return this.widths.get(name) ?? WIDEST_BITS;
  }

  async run(): Promise<LoweredModel> {
    const { tensors } = this.request;
    const layers = tensors.weights.map((weight) => ({ weight, node: this.twins.get(weight.node) as Node }));
    const passes = layerPasses(this.copy.graph, layers, PASSES_MAX);
    for (const [at, pass] of passes.entries()) {
      await this.fitTogether(pass.layers.map(({ weight }) => weight));
      this.context.progress((at + 1) / passes.length, `layer ${at + 1} of ${passes.length}`);
    }
    const weights = new Map(
      [...this.rounded].map(([weight, codes]): [string, LoweredWeight] => {
        const initializer = this.stored(weight, codes);
        return [weight.name, { bits: codes.bits, bytes: packedBytes(codes), initializer }];
      }),
    );
    return { model: this.copy, maps: this.maps, weights };
  }

  private stored(weight: LowerableWeight, codes: WeightCodes): string {
    const constant = this.store.constant(this.twins.get(weight.node)?.inputs[1]);
    if (!constant) throw new Error(`the copy has no weight "${weight.name}"`);
    return storeCodes(this.copy, this.store, { weight, constant, codes });
  }

  private async fitTogether(weights: readonly LowerableWeight[]): Promise<void> {
    const { model, samples } = this.request;
    const joined = joinModels(this.copy, model);
    const fitted = weights.filter(({ form }) => form.rows.depth <= DEPTH_MAX);
    const layers = fitted.map((weight) => this.fitLayer(weight, joined));
    const sums = await fitSums({ model: joined.model, layers, samples, context: this.context, withGram: true });
    for (const weight of weights) this.settle(weight, sums.get(weight.name));
  }

  /** What the layer reads in the copy, and how far what it makes there is from what it makes in the model. */
  private fitLayer({ name, node, form }: LowerableWeight, joined: JoinedModels): FitLayer {
    const twin = this.twins.get(node) as Node;
    const outputs = channelCount(form.layout) / form.groups;
    const [made, target] = [twin.outputs[0]?.name ?? '', joined.nameInSecond(node.outputs[0]?.name ?? '')];
    const rowsOf = (probe: ProbeGraph, value: Value): Value =>
      form.rows.window
        ? probe.reshape(probe.transpose(probe.reshape(value, [0, form.groups, outputs, -1]), [1, 2, 0, 3]), [form.groups, outputs, -1])
        : probe.transpose(probe.reshape(value, [1, -1, outputs]), [0, 2, 1]);
    const error = (probe: ProbeGraph): Value => {
      const [current, wanted] = [probe.value(made), probe.value(target)];
      if (!current || !wanted) throw new Error(`the joined networks have no value "${made}"`);
      return rowsOf(probe, probe.node('Sub', [wanted, current]));
    };
    return { ...form.rows, activation: twin.inputs[0]?.name ?? '', key: name, outputs, error };
  }

  /**
   * With y the result of the layer in the model and x what it reads in the copy: W* = argmin E|y - W x - b|^2, by ridge regression from the
   * weights that it has; its codes by GPTQ on the same x; then b so that the mean of the result is that of y.
   */
  private settle(weight: LowerableWeight, split: SplitSums | undefined): void {
    const twin = this.twins.get(weight.node) as Node;
    const matrix = matrixOf(weight);
    const width = this.widthOf(weight.name);
    const hasBias = hasShiftableBias(this.store, twin, matrix.outputs);
    const before = Float64Array.from(matrix.rows);
    const sums = split && hasOnlyNumbers(split.all) ? split.all : undefined;
    if (split && sums) addChange(matrix.rows, fitted(split, hasBias), weight);
    const products = sums && sums.gram.length > 0 ? centredProducts(sums, hasBias) : undefined;
    let real = matrix.rows;
    if (width < WIDEST_BITS) {
      const granularity = granularityOf(weight, this.request.granularity);
      const codes = roundWeights(matrix, width, { granularity, products, scales: this.request.scales });
      this.rounded.set(weight, codes);
      real = realRows(codes, matrix.depth);
    }
    this.replaceWeight(weight, real);
    if (sums && hasBias)
      shiftBias(
        this.store,
        twin,
        meanError(
          sums,
          real.map((value, at) => value - (before[at] ?? 0)),
        ),
      );
  }

  private replaceWeight(weight: LowerableWeight, rows: Float64Array): void {
    const old = this.store.constant(this.twins.get(weight.node)?.inputs[1]);
    if (!old) throw new Error(`the copy has no weight "${weight.name}"`);
    this.store.replace(old, float32Tensor(old.tensor.dims, fromRows(rows, weight.form.layout, Float32Array)));
  }
}

function fitted(split: SplitSums, hasBias: boolean): WeightChange {
  const ridge = chooseRidge(split, hasBias);
  const change = ridge === null ? undefined : new NormalEquations(split.all, hasBias).fit(ridge)?.solve(split.all);
  return change?.weights.every(Number.isFinite) ? change : meanShift(split.all, hasBias);
}

/** rows [groups * O, K] += change [groups, K, O]. */
function addChange(rows: Float64Array, { weights }: WeightChange, { form }: LowerableWeight): void {
  const depth = channelDepth(form.layout);
  const outputs = channelCount(form.layout) / form.groups;
  for (let at = 0; at < rows.length; at += 1) {
    const [output, k] = [Math.floor(at / depth), at % depth];
    const group = Math.floor(output / outputs);
    rows[at] = (rows[at] ?? 0) + (weights[(group * depth + k) * outputs + (output % outputs)] ?? 0);
  }
}

/** sum (x - mean x)(x - mean x)^T where a bias makes good what the mean does, else sum x x^T. */
function centredProducts({ gram, inputs, rows, groups, depth }: FitSums, hasBias: boolean): InputProducts {
  if (!hasBias) return { gram, groups, rows };
  const centred = Float64Array.from(gram, (value, at) => {
    const [line, j] = [Math.floor(at / depth), at % depth];
    const group = Math.floor(line / depth);
    return value - ((inputs[line] ?? 0) * (inputs[group * depth + j] ?? 0)) / rows;
  });
  return { gram: centred, groups, rows };
}

/** mean(y) - mean(W' x + b) by output, from e = y - (W x + b) and W' - W. */
function meanError({ errors, inputs, rows, groups, depth, outputs }: FitSums, change: Float64Array): Float64Array {
  return Float64Array.from({ length: groups * outputs }, (_, output) => {
    const group = Math.floor(output / outputs);
    let moved = 0;
    for (let k = 0; k < depth; k += 1) moved += (change[output * depth + k] ?? 0) * (inputs[group * depth + k] ?? 0);
    return ((errors[output] ?? 0) - moved) / rows;
  });
}

function hasOnlyNumbers({ rows, gram, cross, squares, inputs }: FitSums): boolean {
  return rows > 0 && [gram, cross, squares, inputs].every((sums) => sums.every(Number.isFinite));
}
