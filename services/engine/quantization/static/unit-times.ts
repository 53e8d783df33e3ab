/** What profiles say of units: the time of each in either form, and what a conversion between the forms costs. */
import type { KernelTime } from '../../runtime/execution-session.js';
import { profilerOverhead, timesByName } from '../../timing/kernel-times.js';
import type { IntegerUnit } from './integer-units.js';

/** Microseconds of a unit in either form. */
export interface UnitTime {
  readonly float: number;
  readonly integer: number;
}

/** Microseconds of a conversion between float and codes: constant part, and per value. */
export interface ConversionCost {
  readonly fixed: number;
  readonly perValue: number;
}

type Times = ReadonlyMap<string, number>;

/** Times of each unit, from a profile of the float model and one of the model with all units on codes. */
export function unitTimes(
  units: readonly IntegerUnit[],
  floatTimes: readonly KernelTime[],
  integerTimes: readonly KernelTime[],
): Map<string, UnitTime> {
  const float = timesByName(floatTimes);
  const integer = timesByName(integerTimes);
  return new Map(units.map((unit) => [unit.name, { float: floatTime(unit, float), integer: sumOf(integer, integerNames(unit)) }] as const));
}

function sumOf(times: Times, names: Iterable<string>): number {
  let sum = 0;
  for (const name of names) sum += times.get(name) ?? 0;
  return sum;
}

/** Names under which the float form of a unit may appear: its nodes, and the values they make, after which blocked kernels are named. */
function floatNames({ node, layer, activation, output }: IntegerUnit): Set<string> {
  const add = layer?.kind === 'dense' ? (layer.bias?.add ?? null) : null;
  const nodes = [node, add, activation].filter((each) => each !== null);
  return new Set([...nodes.flatMap((each) => [each.name, ...each.outputs.flatMap((value) => (value ? [value.name] : []))]), output.name]);
}

/** A convolution without a kernel of its own took in the activation behind it, after whose result a blocked kernel is named. */
function floatTime(unit: IntegerUnit, times: Times): number {
  const own = sumOf(times, floatNames(unit));
  const [reader, another] = unit.output.consumers;
  const activated = reader?.outputs[0];
  return own > 0 || unit.layer?.kind !== 'conv' || another || !activated ? own : (times.get(activated.name) ?? 0);
}

/** The integer form keeps the name of the node; a float result is followed by the activation it could not absorb. */
function integerNames({ node, activation }: IntegerUnit): Set<string> {
  return new Set(activation ? [node.name, activation.name] : [node.name]);
}

/** Least squares would need more conversions than a small model has: the mean time per value over all conversions seen. */
export function conversionCost(times: readonly KernelTime[], sizes: ReadonlyMap<string, number>): ConversionCost {
  const overhead = times.length > 0 ? profilerOverhead(times) - 1 : 0;
  let values = 0;
  let microseconds = 0;
  for (const [name, size] of sizes) {
    const kernel = times.find(({ node, opType }) => opType === 'QuantizeLinear' && node === `${name}_quantized`);
    if (!kernel) continue;
    values += size;
    microseconds += Math.max(0, kernel.microseconds - overhead);
  }
  const perValue = values > 0 ? Math.max(microseconds / values, PER_VALUE_MIN) : PER_VALUE_TYPICAL;
  return { fixed: FIXED, perValue: perValue * LAYOUT_FACTOR };
}

/** Microseconds: a conversion is three kernels, the change of values and the change of layout on either side. */
const FIXED = 6;
/** Microseconds per value where nothing was seen (AVX2, two cores). */
const PER_VALUE_TYPICAL = 0.0005;
const PER_VALUE_MIN = 0.0001;
/** At the border the layout changes, too: codes lie channels last, float channels in blocks, and the way leads over the plain order. */
const LAYOUT_FACTOR = 3;
