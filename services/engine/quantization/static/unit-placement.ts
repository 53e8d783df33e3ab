/** Chooses the units that compute on codes by measuring on this machine, and proves the choice on the whole model. */
import type { Graph, Model, Value } from '../../ir/index.js';
import type { MethodContext } from '../../method.js';
import { sampleFeeds } from '../../timing/observed-activations.js';
import { runsOnTarget } from '../../timing/target-machine.js';
import { timeAlternatives } from '../../timing/whole-model-timing.js';
import type { IntegerUnit } from './integer-units.js';
import type { StaticInt8Options } from './options.js';
import { cheapestUnits, conversionCost, type UnitTime, unitTimes } from './placement.js';
import { candidate, type QuantizedParts } from './static-candidate.js';

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
}

const PROFILE_BUDGET_MS = 300;
/** An integer part must make the model faster by this much: a tie is decided for float, which loses no accuracy. */
const GAIN_MIN = 1.02;

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
  const chosen = cheapestUnits({
    units: input.units,
    times,
    sizes: input.sizes,
    conversion: conversionCost(profiles[1], input.sizes),
    isReadAsFloat: (value) => isReadAsFloat(model.graph, value, input.units),
  });
  const names = new Set([...chosen].map(({ name }) => name));
  return { times, ...(await provenChoice(model, { input, everything, names, all }, context)) };
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

function isReadAsFloat(graph: Graph, value: Value, units: readonly IntegerUnit[]): boolean {
  const readers = new Set(units.filter(({ inputs }) => inputs.includes(value)).map(({ node }) => node));
  return graph.isOutput(value) || value.consumers.some((reader) => !readers.has(reader));
}

interface Choice {
  readonly input: PlacementInput;
  readonly everything: Model;
  readonly names: ReadonlySet<string>;
  readonly all: ReadonlySet<string>;
}

/** The fastest of: the division that the kernel times suggest, all units on codes, none. */
async function provenChoice(
  model: Model,
  { input, everything, names, all }: Choice,
  context: MethodContext,
): Promise<Omit<UnitPlacement, 'times'>> {
  context.progress(0.8, 'times of the whole model');
  const part = names.size > 0 && names.size < all.size ? candidate(model, names, input) : undefined;
  const trials = [...(part ? [{ names, built: part }] : []), { names: all, built: everything }];
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
    if (gain >= GAIN_MIN && gain > (best?.gain ?? 0)) best = { names: trial.names, gain, ground: `the model measured ${times}` };
  }
  return best ?? { names: new Set(), ground: `the model would not be faster on this processor: ${seen.join('; ')}` };
}
