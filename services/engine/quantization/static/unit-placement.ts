/** Chooses the units that compute on codes by measuring on this machine, and proves the choice on the whole model. */
import type { TensorStatistics } from '../../calibration/index.js';
import { modelFidelity } from '../../evaluation/model-fidelity.js';
import type { Graph, Model, Value } from '../../ir/index.js';
import type { MethodContext } from '../../method.js';
import { sampleFeeds } from '../../timing/observed-activations.js';
import { runsOnTarget } from '../../timing/target-machine.js';
import { timeAlternatives } from '../../timing/whole-model-timing.js';
import { expectedNoise } from './expected-noise.js';
import type { IntegerUnit } from './integer-units.js';
import type { StaticInt8Options } from './options.js';
import { type Division, Placement } from './placement.js';
import { candidate, type QuantizedParts } from './static-candidate.js';
import { conversionCost, type UnitTime, unitTimes } from './unit-times.js';

export interface UnitPlacement {
  /** Names of the units that compute on codes. */
  readonly names: ReadonlySet<string>;
  /** Measured times by unit; empty when nothing was timed. */
  readonly times: ReadonlyMap<string, UnitTime>;
  /** Clause for the report that gives the ground of the choice. */
  readonly ground: string;
}

export interface PlacementInput {
  readonly units: readonly IntegerUnit[];
  readonly options: StaticInt8Options;
  readonly parts: QuantizedParts;
  /** Values of a tensor in one run, by name. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly statistics: ReadonlyMap<string, TensorStatistics>;
}

const PROFILE_BUDGET_MS = 300;
/**
 * An integer part must make the model faster by this much: a tie is decided for float, which loses no accuracy, and two sessions of one
 * model differ by some percent.
 */
const GAIN_MIN = 1.04;
/** Fastest runs alone may be luck: the interval of the ratio must not reach below this, which is slower beyond noise. */
const SLOWEST_TAKEN = 0.97;

/** All units unless times decide: for objective 'size', and for targets that this machine is not, nothing is timed. */
export async function placeUnits(model: Model, input: PlacementInput, context: MethodContext): Promise<UnitPlacement> {
  const all = new Set(input.units.map(({ name }) => name));
  const untimed = (why: string): UnitPlacement => ({ names: all, times: new Map(), ground: why });
  if (context.objective === 'size') return untimed('not timed (objective: size)');
  if (!runsOnTarget(context)) return untimed(`not timed (this machine is ${process.arch})`);
  if (all.size === 0) return untimed('nothing to time');
  const everything = candidate(model, all, input);
  const profiles = await profilePair(model, everything, context);
  if (!profiles) return untimed('not timed (no inputs are known that the model runs with)');
  const times = unitTimes(input.units, ...profiles);
  const placement = new Placement({
    units: input.units,
    times,
    sizes: input.sizes,
    conversion: conversionCost(profiles[1], input.sizes),
    noise: expectedNoise(input),
    outsideReaders: (value) => outsideReaders(model.graph, value, input.units),
  });
  const trials = await trialsOf(model, { input, placement, everything }, context);
  return { times, ...(await provenChoice(model, trials, context)) };
}

async function profilePair(model: Model, everything: Model, context: MethodContext) {
  for await (const feeds of sampleFeeds(model, context)) {
    const [float, integer] = await context.runtime.profile([model, everything], feeds, {
      budgetMs: PROFILE_BUDGET_MS,
      signal: context.signal,
    });
    if (float && integer) return [float, integer] as const;
  }
  return undefined;
}

function outsideReaders(graph: Graph, value: Value, units: readonly IntegerUnit[]): number {
  const readers = new Set(units.filter(({ inputs }) => inputs.includes(value)).map(({ node }) => node));
  return value.consumers.filter((reader) => !readers.has(reader)).length + Number(graph.isOutput(value));
}

interface Trial {
  readonly names: ReadonlySet<string>;
  readonly built: Model;
  /** To follow the times. */
  readonly remark: string;
}

/** Signal to noise ratio of the outputs, in dB, from which nothing is given up for less noise: classes and boxes stay what they are. */
const QUIET_DB = 25;
/** Runs that tell whether a model answers well. */
const NOISE_SAMPLES = 4;
/** Share of the time gained that is given up for less noise. */
const SHARE_FOR_QUIET = 0.4;

/**
 * The fastest division that the kernel times suggest, and all units on codes. When the fastest one answers badly, the one with the
 * least noise that still gains most of the time instead.
 */
async function trialsOf(
  model: Model,
  { input, placement, everything }: { readonly input: PlacementInput; readonly placement: Placement; readonly everything: Model },
  context: MethodContext,
): Promise<Trial[]> {
  const all = input.units.length;
  const trialOf = ({ units }: Division, remark: string): Trial => ({
    names: namesOf(units),
    built: units.size === all ? everything : candidate(model, namesOf(units), input),
    remark,
  });
  const fastest = placement.cheapest();
  const whole = { names: namesOf(input.units), built: everything, remark: '' };
  const part = fastest.units.size > 0 && fastest.units.size < all ? trialOf(fastest, '') : undefined;
  const decibels = await signalToNoise(model, (part ?? whole).built, context);
  if (decibels >= QUIET_DB) return part ? [part, whole] : [whole];
  const quiet = placement.quietest(fastest.microseconds + SHARE_FOR_QUIET * (placement.floatTime - fastest.microseconds));
  const remark = `, chosen for little noise (what is fastest answers at ${decibels.toFixed(1)} dB)`;
  return quiet.units.size > 0 ? [trialOf(quiet, remark)] : [];
}

function namesOf(units: Iterable<IntegerUnit>): Set<string> {
  return new Set([...units].map(({ name }) => name));
}

/** In dB, on a few samples, one at a time; infinite without samples and when the outputs tell nothing. */
async function signalToNoise(reference: Model, built: Model, context: MethodContext): Promise<number> {
  const { calibration } = context;
  if (!calibration) return Number.POSITIVE_INFINITY;
  const source = { ...calibration, fixedBatch: calibration.fixedBatch ?? 1 };
  const { sqnr_db } = await modelFidelity({ candidate: built, reference }, { source, limit: NOISE_SAMPLES }, context);
  return sqnr_db ?? Number.POSITIVE_INFINITY;
}

/** The fastest of the trials and none. */
async function provenChoice(model: Model, trials: readonly Trial[], context: MethodContext): Promise<Omit<UnitPlacement, 'times'>> {
  if (trials.length === 0) return { names: new Set(), ground: 'what would be faster on codes answers too far from float32' };
  context.progress(0.8, 'times of the whole model');
  const timings = await timeAlternatives(
    model,
    trials.map(({ built }) => built),
    context,
  );
  let best: { names: ReadonlySet<string>; gain: number; ground: string } | undefined;
  const seen: string[] = [];
  for (const [index, trial] of trials.entries()) {
    const timing = timings?.[index];
    if (!timing) continue;
    const gain = timing.before / timing.after;
    const times = `${timing.before.toPrecision(3)} ms in float32, ${timing.after.toPrecision(3)} ms with ${trial.names.size} operators on codes`;
    seen.push(times);
    const mayBeSlower = (timing.ratio?.low ?? gain) < SLOWEST_TAKEN;
    if (gain >= GAIN_MIN && !mayBeSlower && gain > (best?.gain ?? 0))
      best = { names: trial.names, gain, ground: `the model measured ${times}${trial.remark}` };
  }
  return best ?? { names: new Set(), ground: `the model would not be faster on this processor: ${seen.join('; ')}` };
}
