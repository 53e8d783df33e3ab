/** The method weight-only: weights in few bits, activations in float. Products and tables in blocks, other layers stored per channel. */
import { EngineError } from '../../engine-errors.js';
import { cloneModel, type Model, type Node } from '../../ir/index.js';
import type { DenseLayer } from '../../layers/dense-layers.js';
import { endsOf } from '../../layers/end-layers.js';
import { reportName, WeightStore } from '../../layers/weight-store.js';
import type { MethodContext, MethodOutcome, NodeChange } from '../../method.js';
import { upgradeOpset } from '../../passes/opset-upgrade.js';
import { runsOnTarget } from '../../timing/target-machine.js';
import { timeModels } from '../../timing/whole-model-timing.js';
import { type LowBitOptions, storeLowBit } from '../weight-storage/index.js';
import { scaleActivations } from './activation-scaling.js';
import { OPSET_OF_BLOCKS } from './block-dequantization.js';
import { type BlockLayers, findBlockLayers, type SharedWeight } from './block-layers.js';
import { algorithmsWithData } from './block-quantization.js';
import type { BlockScheme } from './blocked-weights.js';
import { describeWeights } from './layer-description.js';
import { rewriteLayers, type WeightForm } from './layer-rewriting.js';
import { matrixAlgorithm, type WeightOnlyOptions } from './options.js';
import { type ProductDecision, planProducts } from './product-plan.js';
import { type FittedWeight, type FittingTask, fitWeights } from './weight-fitting.js';
import { type WeightScheme, weightScheme } from './weight-schemes.js';

const METHOD = 'weight-only';

export async function weightOnly(model: Model, options: WeightOnlyOptions, context: MethodContext): Promise<MethodOutcome> {
  checkOptions(options, context);
  const upgraded = options.format === 'dequantize-linear' ? upgrade(model) : [];
  const ends = options.protect_ends === false ? new Set<Node>() : endsOf(model.graph, new WeightStore(model));
  const means = { options, context, ends };
  const scaled =
    options.algorithm === 'awq'
      ? await scaleActivations(model, new WeightOnlyRewriting(model, means).tasks(), context)
      : new Map<string, string>();
  const blocks = await new WeightOnlyRewriting(model, means).run(scaled);
  const stored = await storeLowBit(model, lowBitOptions(options, ends), context);
  return { nodes: [...upgraded, ...blocks.nodes, ...stored.nodes], layers: [...(blocks.layers ?? []), ...(stored.layers ?? [])] };
}

function lowBitOptions(
  { conv_bits, recurrent_bits, algorithm, op_types, exclude, layer_bits }: WeightOnlyOptions,
  ends: ReadonlySet<Node>,
): LowBitOptions {
  return {
    ends,
    ...(conv_bits ? { convBits: conv_bits } : {}),
    ...(recurrent_bits ? { recurrentBits: recurrent_bits } : {}),
    ...(algorithm ? { algorithm } : {}),
    ...(op_types ? { opTypes: op_types } : {}),
    ...(exclude ? { exclude } : {}),
    ...(layer_bits ? { layerBits: layer_bits } : {}),
  };
}

function checkOptions(options: WeightOnlyOptions, context: MethodContext): void {
  const { algorithm, bits, format, symmetric } = options;
  if (algorithmsWithData.includes(matrixAlgorithm(options)) && !context.calibration)
    throw new EngineError(
      'recipe_invalid',
      `The algorithm "${algorithm}" needs calibration samples; give a data set, or choose "k-quant".`,
    );
  if (algorithm === 'hqq' && symmetric)
    throw new EngineError('recipe_invalid', 'The algorithm "hqq" moves the zero point; leave "symmetric" out, or choose "mse".');
  if (format === 'dequantize-linear' && bits === 2)
    throw new EngineError('recipe_invalid', 'The format "dequantize-linear" has 4 and 8 bits; choose "matmul-nbits" for 2 bits.');
}

function upgrade(model: Model): readonly NodeChange[] {
  const { changed, obstacle } = upgradeOpset(model, OPSET_OF_BLOCKS);
  if (obstacle === null) return changed;
  throw new EngineError(
    'model_unsupported',
    `The format "dequantize-linear" needs operator set ${OPSET_OF_BLOCKS}, to which this model cannot be raised: ${obstacle}. Choose the format "matmul-nbits".`,
  );
}

/** A weight with the form that it will have in the file. */
interface PlannedWeight {
  readonly weight: SharedWeight;
  readonly scheme: Exclude<WeightScheme, { kind: 'left' }>;
}

interface Means {
  readonly options: WeightOnlyOptions;
  readonly context: MethodContext;
  /** Layers that keep 8 bits. */
  readonly ends: ReadonlySet<Node>;
}

class WeightOnlyRewriting {
  private readonly store: WeightStore;
  private readonly left: NodeChange[] = [];
  private readonly layers: BlockLayers;
  private readonly accuracyLevel: 1 | 4;
  private readonly format: 'matmul-nbits' | 'dequantize-linear';

  private readonly options: WeightOnlyOptions;
  private readonly context: MethodContext;
  private readonly planned: readonly PlannedWeight[];

  constructor(
    private readonly model: Model,
    { options, context, ends }: Means,
  ) {
    this.options = options;
    this.context = context;
    this.store = new WeightStore(model);
    this.layers = findBlockLayers(model, this.store, options);
    this.planned = this.schemes(ends);
    this.accuracyLevel = options.accuracy_level ?? 4;
    this.format = options.format ?? 'matmul-nbits';
  }

  /** `scaled`: where the input of a product was divided by AWQ, by the name of the product. */
  async run(scaled: ReadonlyMap<string, string>): Promise<MethodOutcome> {
    const { model, store, format, context } = this;
    const algorithm = matrixAlgorithm(this.options);
    const fitted = await fitWeights(this.tasks(), { model, algorithm, context });
    const forms = await this.confirmed(this.forms(fitted, await this.decisions()));
    const described = this.planned.flatMap(({ weight }, index) => {
      const form = forms[index];
      return form ? [describeWeights(weight, { form, fitted: fitted.get(weight.constant), by: METHOD, scaled })] : [];
    });
    const weights = this.planned.map(({ weight }) => weight);
    rewriteLayers(weights, forms, { model, store, format });
    return { nodes: [...this.left, ...described.flatMap(({ nodes }) => nodes)], layers: described.flatMap(({ layers }) => layers) };
  }

  tasks(): FittingTask[] {
    return this.planned.flatMap(({ weight, scheme }) => (scheme.kind === 'blocks' ? [{ weight, scheme: scheme.blocks }] : []));
  }

  private leave(node: Node, reason: string): void {
    this.left.push({ node: reportName(node), op_type: node.opType, action: 'left', by: METHOD, reason });
  }

  private schemes(ends: ReadonlySet<Node>): PlannedWeight[] {
    const { weights, left } = this.layers;
    for (const { node, reason } of left) this.leave(node, reason);
    return weights.flatMap((weight): PlannedWeight[] => {
      const scheme = weightScheme(weight, this.options, ends);
      if (scheme.kind !== 'left') return [{ weight, scheme }];
      for (const { node } of [...weight.products, ...weight.lookups]) this.leave(node, scheme.reason);
      return [];
    });
  }

  private decisions(): Promise<Map<DenseLayer, ProductDecision>> {
    const products = this.planned.flatMap(({ weight, scheme }) =>
      scheme.kind === 'blocks' ? weight.products.map((layer) => this.product(layer, weight, scheme.blocks)) : [],
    );
    return planProducts(this.model, products, this.context);
  }

  private product(layer: DenseLayer, { axis }: SharedWeight, scheme: BlockScheme) {
    const obstacle =
      layer.reductionAxis === axis ? layer.integerObstacle : 'the blocks of its weight run along the other axis, for another reader';
    return { layer, scheme, accuracyLevel: this.accuracyLevel, obstacle };
  }

  private forms(
    fitted: ReadonlyMap<SharedWeight['constant'], FittedWeight>,
    decisions: ReadonlyMap<DenseLayer, ProductDecision>,
  ): WeightForm[] {
    return this.planned.map(({ weight }): WeightForm => {
      const blocked = fitted.get(weight.constant)?.blocked;
      if (!blocked) return { kind: 'rows' };
      const chosen = weight.products.map((layer) => decisions.get(layer) ?? { form: 'widened' as const, ground: '' });
      return { kind: 'blocks', blocked, decisions: chosen, accuracyLevel: this.accuracyLevel };
    });
  }

  /** The forms as they are when the whole model is not slower by them; otherwise every product with widened weights. */
  private async confirmed(forms: readonly WeightForm[]): Promise<readonly WeightForm[]> {
    const usesKernel = forms.some((form) => form.kind === 'blocks' && form.decisions.some((decision) => decision.form === 'kernel'));
    if (!usesKernel || this.context.objective === 'size' || !runsOnTarget(this.context)) return forms;
    const timing = await timeModels(this.model, this.rewrittenCopy(forms), this.context);
    if (!timing || timing.after <= timing.before) return forms;
    const times = `${timing.before.toPrecision(3)} ms in float32, ${timing.after.toPrecision(3)} ms with MatMulNBits`;
    return forms.map((form) =>
      form.kind === 'blocks' ? { ...form, decisions: form.decisions.map((decision) => widenedFor(decision, times)) } : form,
    );
  }

  /** A copy of the model with these forms carried out; layers are found in the same order in both. */
  private rewrittenCopy(forms: readonly WeightForm[]): Model {
    const model = cloneModel(this.model);
    const store = new WeightStore(model);
    const originals = this.layers.weights;
    const weights = findBlockLayers(model, store, this.options).weights.filter((_, index) => {
      const original = originals[index];
      return this.planned.some(({ weight }) => weight === original);
    });
    rewriteLayers(weights, forms, { model, store, format: this.format });
    return model;
  }
}

function widenedFor(decision: ProductDecision, times: string): ProductDecision {
  if (decision.form === 'widened') return decision;
  const { timing } = decision;
  return {
    form: 'widened',
    ground: `the model as a whole would be slower: ${times} (this layer alone: ${decision.ground})`,
    ...(timing ? { timing: { before: timing.before, after: timing.before } } : {}),
  };
}
