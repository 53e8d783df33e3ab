/** From a choice of bits to an artifact that really keeps the bound: written, measured, and tightened until it does. */
import { EngineError } from '../../engine-errors.js';
import { noiseOf } from '../../evaluation/layer-sensitivity.js';
import { modelFidelity } from '../../evaluation/model-fidelity.js';
import { cloneModel, type Model } from '../../ir/index.js';
import { modelBytes } from '../../ir/model-bytes.js';
import type { MethodContext, MethodOutcome, RunSource } from '../../method.js';
import { runsOnTarget } from '../../timing/target-machine.js';
import { timeModels } from '../../timing/whole-model-timing.js';
import type { WeightOnlyOptions } from '../weight-only/options.js';
import { weightOnly } from '../weight-only/weight-only.js';
import type { BitsPlan, ChosenBits } from './bits-plan.js';
import type { MixedPrecisionOptions } from './options.js';
import { greedySearch, knapsackSearch } from './search.js';
import type { CandidateLayer, WeightCandidate } from './weight-candidates.js';

export interface BoundRequest {
  readonly model: Model;
  readonly plan: BitsPlan;
  readonly samples: RunSource;
  readonly options: MixedPrecisionOptions;
}

export interface Candidate {
  readonly chosen: ChosenBits;
  readonly model: Model;
  readonly outcome: MethodOutcome;
}

/** Samples on which the artifact is compared with its source. */
const PROVEN_SAMPLES = 128;
/** Without a budget and a bound: errors of 3 % of the outputs, at which decisions rarely change. */
const DEFAULT_SQNR_DB = 30;
/** With a metric to keep, the search begins here, and the metric decides. */
const JUDGED_SQNR_DB = 15;
/** Artifacts that are written and measured when one of them holds. */
const ATTEMPTS = 4;
/** An artifact that leaves no more of its budget, or of its noise in dB, than this is good enough: each costs a whole quantization. */
const BYTES_TO_SPARE = 0.01;
const DECIBELS_TO_SPARE = 1.5;
/** Aimed at instead of the bound itself, which one of two artifacts would miss. */
const MARGIN = 0.9;
/** A timing that is off by less than this is noise of the measurement. */
const TIMING_TOLERANCE = 1.03;
const TIMED_ATTEMPTS = 4;
/** A limit on the noise changes by at least and at most these at a time, and is given up at the noise of float32 itself. */
const FACTOR_MAX = 0.8;
const FACTOR_MIN = 0.05;
const NOISE_MIN = 1e-16;

/** Throws EngineError `recipe_invalid` that says what can be reached when the bound cannot be kept. */
export function boundedArtifact(request: BoundRequest, context: MethodContext): Promise<Candidate> {
  return new BoundSearch(request, context).run();
}

class BoundSearch {
  private readonly search: typeof greedySearch;

  constructor(
    private readonly request: BoundRequest,
    private readonly context: MethodContext,
  ) {
    this.search = request.options.search === 'knapsack' ? knapsackSearch : greedySearch;
  }

  async run(): Promise<Candidate> {
    const { budget, min_sqnr_db } = this.request.options;
    if (budget?.bytes === undefined && budget?.latency === undefined) return this.withinNoise();
    const found = budget.bytes === undefined ? await this.withinTime(budget.latency ?? 1) : await this.withinBytes(budget.bytes);
    if (min_sqnr_db === undefined) return found;
    const { sqnr_db } = await this.measured(found.model);
    if (sqnr_db >= min_sqnr_db) return found;
    throw unreachable(
      `The budget leaves ${sqnr_db.toFixed(1)} dB, and min_sqnr_db asks for ${min_sqnr_db}. Raise the budget, or ask for at most ${Math.floor(sqnr_db)} dB.`,
    );
  }

  /**
   * Least noise within a fraction of the bytes. What the estimate of single layers misses, either way, corrects the room: the
   * last artifact that fits is the answer, as it was chosen with the largest room.
   */
  private async withinBytes(fraction: number): Promise<Candidate> {
    const { model, plan } = this.request;
    const source = modelBytes(model);
    const tried = new Set<string>();
    let best: { readonly found: Candidate; readonly noise: number } | undefined;
    let room = fraction * source - source + plan.layers.reduce((sum, { bytes }) => sum + bytes, 0);
    while (!best || tried.size < ATTEMPTS) {
      const chosen = plan.leastNoise(room, bytesOf, this.search) ?? plan.leastBytes(Number.MAX_VALUE, this.search);
      if (!chosen || tried.has(keyOf(chosen))) break;
      tried.add(keyOf(chosen));
      const found = await this.written(chosen, 1);
      const excess = modelBytes(found.model) - fraction * source;
      const noise = sumOf(chosen, (layer, candidate) => plan.noiseOf(layer, candidate));
      if (excess <= 0 && !(best && best.noise <= noise)) best = { found, noise };
      if (excess <= 0 && -excess < BYTES_TO_SPARE * fraction * source) break;
      room = sumOf(chosen, bytesOf) - excess;
    }
    return best?.found ?? this.fewestBytes(fraction);
  }

  private async fewestBytes(fraction: number): Promise<Candidate> {
    const { model, plan } = this.request;
    const chosen = plan.leastBytes(Number.MAX_VALUE, this.search);
    if (!chosen) throw new RangeError('mixed-precision: a search without a limit finds a choice');
    const found = await this.written(chosen, 1);
    const reached = modelBytes(found.model) / modelBytes(model);
    if (reached <= fraction) return found;
    throw unreachable(
      `A budget of ${fraction} of the bytes cannot be kept: these bits reach ${(1.005 * reached).toFixed(3)}. Allow fewer bits, or raise the budget.`,
    );
  }

  /**
   * Least bytes at a given noise. The limit on the sum of predicted noises follows what the written artifacts show, down until
   * one keeps the bound (and the metric), up while there is room: rounding on real inputs does better than predicted.
   */
  private async withinNoise(): Promise<Candidate> {
    const { plan } = this.request;
    const { target } = this.bound;
    const tried = new Set<string>();
    let best: Candidate | undefined;
    let [low, high] = [0, Number.POSITIVE_INFINITY];
    for (let limit = target; limit > NOISE_MIN; ) {
      const chosen = plan.leastBytes(limit, this.search);
      if (!chosen) break;
      const key = keyOf(chosen);
      if (tried.has(key)) {
        if (best) break;
        limit *= FACTOR_MAX;
        continue;
      }
      tried.add(key);
      const found = await this.written(chosen, 1);
      const verdict = await this.verdict(found.model);
      if (verdict.keepsNoise && verdict.keepsMetric) [best, low] = [found, limit];
      else high = limit;
      const isClose = verdict.sqnr_db < this.bound.sqnr_db + DECIBELS_TO_SPARE;
      if (best && (tried.size >= ATTEMPTS || (best === found && isClose))) break;
      const wanted = limit * this.correction(verdict, tried.size);
      limit = best ? between(low, high, wanted) : wanted;
    }
    return best ?? this.leastNoise();
  }

  /** How far the limit was off, as a factor: bounded, and impatient when nothing holds for long. */
  private correction({ keepsNoise, keepsMetric, noise }: Verdict, attempts: number): number {
    const wanted = (keepsNoise && !keepsMetric ? 0.5 : this.bound.target / noise) * MARGIN;
    if (keepsNoise && keepsMetric) return Math.min(1 / FACTOR_MIN, Math.max(1 / FACTOR_MAX, wanted));
    return Math.max(FACTOR_MIN, Math.min(FACTOR_MAX, wanted)) * (attempts > ATTEMPTS ? 0.1 : 1);
  }

  /** The last resort: the most bits that may be chosen. */
  private async leastNoise(): Promise<Candidate> {
    const { plan, options } = this.request;
    const chosen = plan.leastNoise(Number.MAX_VALUE, (_, { bytes }) => bytes, this.search);
    if (!chosen) throw new RangeError('mixed-precision: a search without a limit finds a choice');
    const found = await this.written(chosen, 1);
    const { keepsNoise, keepsMetric, sqnr_db } = await this.verdict(found.model);
    const reached = `these bits reach ${sqnr_db.toFixed(1)} dB`;
    if (!keepsNoise && options.min_sqnr_db !== undefined)
      throw unreachable(`min_sqnr_db ${options.min_sqnr_db} cannot be kept: ${reached}. Add 32 (float) to "bits", or ask for less.`);
    const warnings = [
      ...(keepsNoise ? [] : [`mixed-precision: ${reached}, less than ${this.bound.sqnr_db} dB; add 32 (float) to "bits" for more.`]),
      ...(keepsMetric ? [] : ['mixed-precision: the most bits that may be chosen lose more of the metric than the gate allows.']),
    ];
    return { ...found, outcome: { ...found.outcome, warnings: [...(found.outcome.warnings ?? []), ...warnings] } };
  }

  private get bound(): { readonly sqnr_db: number; readonly target: number } {
    const sqnr_db = this.request.options.min_sqnr_db ?? (this.context.judge ? JUDGED_SQNR_DB : DEFAULT_SQNR_DB);
    return { sqnr_db, target: 10 ** (-sqnr_db / 10) };
  }

  private async verdict(artifact: Model): Promise<Verdict> {
    const { judge } = this.context;
    const measured = await this.measured(artifact);
    const keepsNoise = measured.sqnr_db >= this.bound.sqnr_db;
    return { ...measured, keepsNoise, keepsMetric: !keepsNoise || !judge || (await judge.drop(artifact)) <= judge.maxDrop };
  }

  /** Least noise within a fraction of the time of the model, by the times of its layers in each number of bits. */
  private async withinTime(fraction: number): Promise<Candidate> {
    const { model, plan } = this.request;
    const { context } = this;
    if (!runsOnTarget(context) || context.objective === 'size')
      throw unreachable('A budget of latency is measured on this machine: use a target that it has, and the objective "latency".');
    const now = await timeModels(model, model, context);
    if (!now) throw unreachable('A budget of latency needs samples that the model runs on.');
    const total = 1000 * now.before;
    const timeOf = await layerTimes(this.request, context);
    const float = plan.layers.reduce((sum, layer) => sum + timeOf(layer, 32), 0);
    const weightOf = (layer: CandidateLayer, { bits }: WeightCandidate): number => timeOf(layer, bits);
    const measured: number[] = [];
    let room = float - (1 - fraction) * total;
    for (let attempt = 0; attempt < TIMED_ATTEMPTS; attempt += 1) {
      const chosen = plan.leastNoise(room, weightOf, this.search);
      if (!chosen) break;
      const found = await this.written(chosen, 4);
      const timing = await timeModels(model, found.model, context);
      const ratio = timing ? timing.after / timing.before : fraction;
      if (ratio <= fraction * TIMING_TOLERANCE) return found;
      measured.push(ratio);
      room = sumOf(chosen, weightOf) - (ratio - fraction) * total;
    }
    const reached = measured.length > 0 ? Math.min(...measured) : (total - float + plan.least(weightOf)) / total;
    throw unreachable(
      `A budget of ${fraction} of the latency cannot be kept: weights of these bits reach ${reached.toFixed(2)} on this machine. Use static-int8, or raise the budget.`,
    );
  }

  /** A copy of the model with the chosen bits. With accuracy level 1 its noise is that of the weights, as it was measured. */
  private async written(chosen: ChosenBits, accuracyLevel: 1 | 4): Promise<Candidate> {
    const copy = cloneModel(this.request.model);
    const bits = new Map([...chosen].flatMap(([layer, candidate]) => layer.nodes.map((node) => [node, candidate.bits] as const)));
    const outcome = await weightOnly(copy, writingOptions(bits, accuracyLevel, this.request.options), this.context);
    return { chosen, model: copy, outcome };
  }

  private async measured(candidate: Model): Promise<{ sqnr_db: number; noise: number }> {
    const { model, samples } = this.request;
    return noiseOf(await modelFidelity({ candidate, reference: model }, { source: samples, limit: PROVEN_SAMPLES }, this.context));
  }
}

interface Verdict {
  readonly sqnr_db: number;
  readonly noise: number;
  readonly keepsNoise: boolean;
  /** Not asked for when the noise is too high already. */
  readonly keepsMetric: boolean;
}

function bytesOf(_: CandidateLayer, { bytes }: WeightCandidate): number {
  return bytes;
}

function keyOf(chosen: ChosenBits): string {
  return [...chosen.values()].map(({ bits }) => bits).join();
}

function sumOf(chosen: ChosenBits, weightOf: (layer: CandidateLayer, candidate: WeightCandidate) => number): number {
  return [...chosen].reduce((sum, [layer, candidate]) => sum + weightOf(layer, candidate), 0);
}

/** `wanted`, or the geometric middle when it lies outside what is known to hold and to fail. */
function between(low: number, high: number, wanted: number): number {
  return wanted > low && wanted < high ? wanted : Math.sqrt(low * high);
}

function writingOptions(
  layer_bits: ReadonlyMap<string, WeightCandidate['bits']>,
  accuracy_level: 1 | 4,
  { exclude }: MixedPrecisionOptions,
): WeightOnlyOptions {
  const others = { conv_bits: 32, recurrent_bits: 32, protect_ends: false } as const;
  return { layer_bits, accuracy_level, ...others, ...(exclude ? { exclude } : {}) };
}

/** Microseconds of each layer in each number of bits; 0 for layers that compute alike in all of them. */
async function layerTimes(
  { model, plan, options }: BoundRequest,
  context: MethodContext,
): Promise<(layer: CandidateLayer, bits: number) => number> {
  const times = new Map<string, number>();
  const offered = new Set(plan.layers.flatMap(({ candidates }) => candidates.map(({ bits }) => bits)));
  for (const bits of offered) {
    if (bits === 32) continue;
    const fitting = plan.layers.filter(({ candidates }) => candidates.some((each) => each.bits === bits));
    const choice = new Map(plan.layers.flatMap((layer) => layer.nodes.map((node) => [node, fitting.includes(layer) ? bits : 32] as const)));
    const { layers = [] } = await weightOnly(cloneModel(model), writingOptions(choice, 4, options), context);
    for (const { node, time_before_us, time_after_us } of layers) {
      if (time_before_us === undefined || time_after_us === undefined) continue;
      times.set(`32 ${node}`, time_before_us);
      times.set(`${bits} ${node}`, time_after_us);
    }
  }
  return ({ nodes }, bits) => nodes.reduce((sum, node) => sum + (times.get(`${bits} ${node}`) ?? times.get(`32 ${node}`) ?? 0), 0);
}

function unreachable(message: string): EngineError {
  return new EngineError('recipe_invalid', message);
}
