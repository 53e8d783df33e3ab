/** Method precision-lowering: the width of every map and weight, lowered in order of what it saves for what it loses, until a budget is spent. */
import { addToBitTable } from '../accelerators/index.js';
import { EngineError } from '../engine-errors.js';
import { noiseOf } from '../evaluation/layer-sensitivity.js';
import { modelFidelity } from '../evaluation/model-fidelity.js';
import { adoptModel } from '../ir/adopt-model.js';
import { cloneModel, elementCount, type Model } from '../ir/index.js';
import { reportName } from '../layers/weight-store.js';
import {
  firstSamples,
  type LayerReport,
  type MethodContext,
  type MethodOutcome,
  type NodeChange,
  partOf,
  type RunSource,
} from '../method.js';
import { longestWithin } from './budget-search.js';
import { codedBits, isCodedLater } from './coded-widths.js';
import { type LoweredModel, type LoweringRequest, lowerModel } from './lowered-model.js';
import { loweringOrder, type TensorWidths, widthsAfter } from './lowering-order.js';
import { type CodedBits, MemoryCost } from './memory-cost.js';
import { bitsOf, NARROWEST_BITS, type ScaleChoice, WIDEST_BITS } from './narrow-codes.js';
import { NarrowNetwork, type Widths } from './narrow-network.js';
import { type LowerableMap, type NetworkTensors, networkTensors } from './network-tensors.js';
import type { PrecisionLoweringOptions } from './options.js';
import { trainLowered } from './rounded-training.js';

const METHOD = 'precision-lowering';
/** Samples that ranges and products of inputs are taken of. */
const SAMPLES_MAX = 256;
/** Most of them are others than those that layers were fitted on, where there are as many. */
const PROVEN_SAMPLES = 1024;
const DEFAULT_SQNR_DB = 30;
/** Widths above are taken to lose a quarter of the noise with each further bit. */
const MEASURED_BITS_MAX = 10;
/** After the first tensor that the budget stops, the others go on; so often. */
const ROUNDS = 4;
/** Models that are built for each round. */
const BUILDS = 8;
/** The same where each build is trained, which takes longer and moves the limit of all tensors together. */
const TRAINED = { rounds: 1, builds: 4 } as const;
/** Of inputs and outputs of the network when all others are given: they are images and the like. */
const INTERFACE_BITS = 8;

/**
 * Edits `model` in place: maps pass through clipped QuantizeLinear and DequantizeLinear pairs, weights are stored as codes; the widths stand
 * in the metadata under "lathe.bits". Throws EngineError `recipe_invalid` without calibration samples.
 */
export async function precisionLowering(model: Model, options: PrecisionLoweringOptions, context: MethodContext): Promise<MethodOutcome> {
  if (!context.calibration)
    throw new EngineError(
      'recipe_invalid',
      'precision-lowering measures what each width costs and needs calibration samples: give a data set of typical inputs (--data, or data.calibration_id).',
    );
  const samples = firstSamples(context.calibration, SAMPLES_MAX);
  const tensors = await networkTensors(model, { samples, exclude: options.exclude ?? [], context });
  if (tensors.maps.length + tensors.weights.length === 0)
    return { nodes: [], warnings: [`${METHOD}: the model has no float32 maps and no layers with constant weights.`] };
  const isCoded = isCodedLater(options, context);
  const offered = offeredWidths(options, isCoded);
  const granularity = options.weight_granularity ?? 'tensor';
  const scales: ScaleChoice = context.accelerator?.scales ?? 'any';
  const request = { model, tensors, granularity, scales, samples };
  const network = await NarrowNetwork.open({ ...request, ...offered }, partOf(context, 0, 0.2));
  try {
    const coded = isCoded ? await codedBits({ model, tensors, network, widths: offered.mapWidths, samples, context }) : undefined;
    const lowering = { ...request, network, provenOn: context.calibration };
    const found = await new Lowering(lowering, { options, coded, context: partOf(context, 0.2, 1) }).run();
    return adopted(model, tensors, found);
  } finally {
    await network.close();
  }
}

interface OfferedWidths {
  readonly mapWidths: readonly number[];
  readonly weightWidths: readonly number[];
}

/** Falling, without the 16 bits that every tensor has. Halves where the coder gains from codes that are not used. */
function offeredWidths(options: PrecisionLoweringOptions, isCoded: boolean): OfferedWidths {
  const { min_activation_bits = NARROWEST_BITS, min_weight_bits = NARROWEST_BITS, activation_bits, weight_bits } = options;
  const step = isCoded ? 0.5 : 1;
  return {
    mapWidths:
      activation_bits === undefined
        ? downTo(min_activation_bits, step)
        : [...new Set([activation_bits, Math.max(INTERFACE_BITS, activation_bits)])],
    weightWidths: weight_bits === undefined ? downTo(min_weight_bits, 1) : [weight_bits],
  };
}

function downTo(least: number, step: number): number[] {
  const widths: number[] = [];
  for (let width = WIDEST_BITS - 1; width >= least; width -= width > INTERFACE_BITS ? 1 : step) widths.push(width);
  return widths;
}

interface Found extends LoweredModel {
  readonly cost: { readonly before: number; readonly after: number };
  readonly sqnr_db: number;
}

interface Kept {
  readonly widths: Widths;
  readonly built?: LoweredModel;
  /** Share of the budget that is spent. */
  readonly loss?: number;
}

/** Tensors as they now are, with the widths that are left to try. */
function narrowerThan(tensors: readonly TensorWidths[], widths: Widths): TensorWidths[] {
  return tensors.map(({ name, widths: offered, noise }) => {
    const at = Math.max(0, offered.indexOf(widths.get(name) ?? WIDEST_BITS));
    return { name, widths: offered.slice(at), noise: noise.slice(at) };
  });
}

class Lowering {
  private readonly cost: MemoryCost;
  private readonly options: PrecisionLoweringOptions;
  private readonly context: MethodContext;

  constructor(
    private readonly request: LoweringRequest & { readonly provenOn: RunSource },
    { options, coded, context }: { options: PrecisionLoweringOptions; coded: CodedBits | undefined; context: MethodContext },
  ) {
    [this.options, this.context] = [options, context];
    this.cost = new MemoryCost(request.tensors, context.accelerator, coded);
  }

  async run(): Promise<Found> {
    const fixed = this.fixedWidths();
    let open = await this.measured(this.openTensors(fixed));
    let kept: Kept | undefined;
    const rounds = this.options.recovery ? TRAINED.rounds : ROUNDS;
    for (let round = 0; round < rounds && (open.length > 0 || !kept); round += 1) {
      const found = await this.lowered(open, kept ?? { widths: fixed });
      kept = found.kept;
      if (!found.blocked) break;
      open = narrowerThan(open, kept.widths).filter(({ name }) => name !== found.blocked);
    }
    if (!kept?.built) throw new Error('precision-lowering: no model was built');
    return this.described(kept.built, kept.widths);
  }

  /** As many steps as the budget allows, and the tensor of the first one that it does not. */
  private async lowered(tensors: readonly TensorWidths[], start: Kept): Promise<{ kept: Kept; blocked: string | undefined }> {
    const order = loweringOrder(tensors, (widths) => this.cost.of(new Map([...start.widths, ...widths])));
    const limit = this.options.min_sqnr_db ?? (this.context.judge ? null : DEFAULT_SQNR_DB);
    const widthsOf = (count: number): Widths => new Map([...start.widths, ...widthsAfter(order, count)]);
    const noises = new Map<number, number>();
    const noise = async (count: number): Promise<number> => {
      const known = noises.get(count) ?? (await this.request.network.noises([widthsOf(count)], this.quiet()))[0] ?? 0;
      noises.set(count, known);
      return known;
    };
    const found = await longestWithin<LoweredModel>({
      steps: order.length,
      noise,
      build: async (count) => (count === 0 && start.built) || this.built(widthsOf(count), limit),
      builds: this.options.recovery ? TRAINED.builds : BUILDS,
      loss: async (built) => Math.max(...(await this.losses(built, limit))),
      budget: 1,
      firstNoise: start.loss ? (await noise(0)) / start.loss : 10 ** (-(limit ?? DEFAULT_SQNR_DB) / 10),
    });
    if (found.count === 0 && found.loss > 1 && tensors.length > 0) throw this.unreachable();
    return {
      kept: { widths: widthsOf(found.count), built: found.built, loss: found.loss },
      blocked: order[found.count]?.name,
    };
  }

  /** Trained where the recipe says so, and where that loses less. */
  private async built(widths: Widths, limit: number | null): Promise<LoweredModel> {
    const { model, tensors } = this.request;
    const plain = await lowerModel(this.request, widths, this.quiet());
    const { recovery } = this.options;
    if (!recovery) return plain;
    const trained = { ...plain, model: cloneModel(plain.model) };
    const grids = new Set(tensors.maps.flatMap(({ name, gridStep }) => (gridStep === undefined ? [] : [name])));
    const keepsScale = (tensor: string): boolean => this.request.scales !== 'any' || grids.has(tensor);
    await trainLowered(trained, { teacher: model, options: recovery, keepsScale }, this.quiet());
    const [before, after] = [await this.losses(plain, limit), await this.losses(trained, limit)];
    return Math.max(...after) < Math.max(...before) ? trained : plain;
  }

  private unreachable(): EngineError {
    return new EngineError(
      'recipe_invalid',
      `${METHOD}: the widths that the recipe fixes lose more than the bound allows already. Lower min_sqnr_db, allow a larger max_metric_drop, or fix wider ones.`,
    );
  }

  /** Shares of each budget that is set; above 1 it is not kept. */
  private async losses(built: LoweredModel, limit: number | null): Promise<number[]> {
    const { judge } = this.context;
    const noise = limit === null ? 0 : (await this.noise(built.model)) / 10 ** (-limit / 10);
    if (!judge) return [noise];
    const drop = await judge.drop(built.model);
    return [noise, judge.maxDrop > 0 ? drop / judge.maxDrop : drop <= 0 ? 0 : 2];
  }

  private async noise(candidate: Model): Promise<number> {
    const { model, provenOn } = this.request;
    return noiseOf(await modelFidelity({ candidate, reference: model }, { source: provenOn, limit: PROVEN_SAMPLES }, this.context)).noise;
  }

  /** Progress of the parts is not that of the whole, whose length nobody knows. */
  private quiet(): MethodContext {
    return { ...this.context, progress: (_, message) => this.context.progress(0.5, message) };
  }

  private fixedWidths(): Widths {
    const { activation_bits, weight_bits } = this.options;
    const { maps, weights } = this.request.tensors;
    const mapWidth = ({ map }: LowerableMap): number =>
      map.isInterface ? Math.max(INTERFACE_BITS, activation_bits ?? 0) : (activation_bits ?? WIDEST_BITS);
    return new Map([
      ...(activation_bits === undefined ? [] : maps.map((map): [string, number] => [map.name, mapWidth(map)])),
      ...(weight_bits === undefined ? [] : weights.map(({ name }): [string, number] => [name, weight_bits])),
    ]);
  }

  private openTensors(fixed: Widths): { name: string; widths: readonly number[] }[] {
    const { maps, weights } = this.request.tensors;
    const offered = offeredWidths(this.options, isCodedLater(this.options, this.context));
    const of = (tensors: readonly { readonly name: string }[], widths: readonly number[]) =>
      tensors.filter(({ name }) => !fixed.has(name)).map(({ name }) => ({ name, widths }));
    return [...of(maps, offered.mapWidths), ...of(weights, offered.weightWidths)];
  }

  /** What every width of every tensor does alone. */
  private async measured(open: readonly { name: string; widths: readonly number[] }[]): Promise<TensorWidths[]> {
    const isMeasured = (width: number, widths: readonly number[]): boolean => width <= Math.max(MEASURED_BITS_MAX, Math.min(...widths));
    const trials = open.flatMap(({ name, widths }) =>
      widths.filter((width) => isMeasured(width, widths)).map((width) => ({ name, width })),
    );
    const noises = await this.request.network.noises(
      trials.map(({ name, width }) => new Map([[name, width]])),
      this.context,
    );
    const measured = new Map(trials.map(({ name, width }, at) => [`${width} ${name}`, noises[at] ?? 0]));
    return open.map(({ name, widths }) => {
      const widest = Math.max(...widths.filter((width) => isMeasured(width, widths)));
      const noise = widths.map(
        (width) => measured.get(`${width} ${name}`) ?? (measured.get(`${widest} ${name}`) ?? 0) / 4 ** (width - widest),
      );
      return { name, widths: [WIDEST_BITS, ...widths], noise: [0, ...noise] };
    });
  }

  private async described(built: LoweredModel, widths: Widths): Promise<Found> {
    const noise = await this.noise(built.model);
    return {
      ...built,
      cost: { before: this.cost.of(new Map()), after: this.cost.of(widths) },
      sqnr_db: noise > 0 ? -10 * Math.log10(noise) : Number.POSITIVE_INFINITY,
    };
  }
}

function adopted(model: Model, tensors: NetworkTensors, found: Found): MethodOutcome {
  const bitsOfMap = new Map([...found.maps].map(([name, codes]) => [name, bitsOf(codes)]));
  const nodes: NodeChange[] = [];
  const layers: LayerReport[] = [];
  for (const { name, node, constant } of tensors.weights) {
    const codes = found.weights.get(name);
    const input = inputMap(tensors, node.inputs[0]?.name ?? '');
    const form = `weights ${codes?.bits ?? WIDEST_BITS} bit, input ${bitsOfMap.get(input) ?? WIDEST_BITS} bit`;
    const line = { node: reportName(node), op_type: node.opType };
    nodes.push({
      ...line,
      action: codes ? 'changed' : 'left',
      by: METHOD,
      reason: codes ? `${form}; fitted to the rounded inputs` : `${form}: fewer would lose more than the budget`,
    });
    const bytes_before = 4 * elementCount(constant.tensor.dims);
    layers.push({ ...line, form, bytes_before, bytes_after: codes?.bytes ?? bytes_before });
  }
  adoptModel(model, found.model);
  addToBitTable(model, {
    weights: Object.fromEntries([...found.weights.values()].map(({ bits, initializer }) => [initializer, bits])),
    maps: Object.fromEntries(bitsOfMap),
  });
  return { nodes, layers, warnings: warningsOf(found) };
}

/** The map that a value is a view of. */
function inputMap({ maps }: NetworkTensors, value: string): string {
  return maps.find(({ map }) => map.names.includes(value))?.name ?? value;
}

function warningsOf({ cost, sqnr_db, maps, weights }: Found): string[] {
  const saved = (100 * (1 - cost.after / cost.before)).toFixed(1);
  return [
    `${METHOD}: ${maps.size} maps and ${weights.size} weights are narrower than 16 bits; off-chip traffic is ${saved} % lower, and the outputs keep ${sqnr_db.toFixed(1)} dB.`,
    `${METHOD}: a CPU gains nothing from this file: its codes lie in 8- and 16-bit containers and its layers compute in float. It is for accelerators that store and move narrow codes; the widths stand in the metadata under "lathe.bits".`,
  ];
}
