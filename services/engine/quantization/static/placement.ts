/** Decides by measured kernel times which units compute on codes: the division into float and integer that costs least. */
import type { Value } from '../../ir/index.js';
import type { KernelTime } from '../../runtime/execution-session.js';
import { profilerOverhead, timesByName } from '../../timing/kernel-times.js';
import type { IntegerUnit } from './integer-units.js';
import { FlowNetwork } from './minimum-cut.js';

/** Microseconds of a unit in either form. */
export interface UnitTime {
  readonly float: number;
  readonly integer: number;
}

export interface PlacementRequest {
  readonly units: readonly IntegerUnit[];
  readonly times: ReadonlyMap<string, UnitTime>;
  /** Values of a tensor in one run, by name. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly conversion: ConversionCost;
  /** True for a tensor that something outside the units reads as float: a float node, or the caller. */
  isReadAsFloat(value: Value): boolean;
}

/** Microseconds of a conversion between float and codes: constant part, and per value. */
export interface ConversionCost {
  readonly fixed: number;
  readonly perValue: number;
}

/**
 * Minimises  sum of f_u over float units + sum of q_u over integer units + sum over tensors of the conversions that their readers need:
 * one to codes when a float operator's result is read by an integer unit, one to float in the other direction.
 * Each conversion is paid once, however many readers share it, so the energy is submodular and a minimum cut finds the optimum
 * (Kolmogorov and Zabih 2004). Dense layers give float results without a conversion.
 */
export function cheapestUnits(request: PlacementRequest): Set<IntegerUnit> {
  const network = new FlowNetwork();
  const integer = network.vertex();
  const float = network.vertex();
  const vertices = new Map(request.units.map((unit) => [unit, network.vertex()] as const));
  for (const [unit, vertex] of vertices) {
    const time = request.times.get(unit.name) ?? { float: 0, integer: 0 };
    network.arc(integer, vertex, time.float);
    network.arc(vertex, float, time.integer);
  }
  const producers = new Map(request.units.map((unit) => [unit.output, unit] as const));
  for (const value of new Set(request.units.flatMap(({ inputs, output }) => [...inputs, output]))) {
    const readers = request.units.filter((unit) => unit.inputs.includes(value)).flatMap((unit) => vertices.get(unit) ?? []);
    const producer = producers.get(value);
    const made = producer && vertices.get(producer);
    const cost = request.conversion.fixed + request.conversion.perValue * (request.sizes.get(value.name) ?? 0);
    addConversionToCodes(network, { readers, producer: made ?? float, cost });
    if (made === undefined || producer?.layer?.kind === 'dense') continue;
    addConversionToFloat(network, { readers: request.isReadAsFloat(value) ? [...readers, float] : readers, producer: made, cost });
  }
  const chosen = network.cut(integer, float);
  return new Set(request.units.filter((unit) => chosen.has(vertices.get(unit) ?? -1)));
}

interface Conversion {
  readonly readers: readonly number[];
  readonly producer: number;
  readonly cost: number;
}

const FORBIDDEN = 1e15;

/** Paid once when any reader is integer and the producer is float. */
function addConversionToCodes(network: FlowNetwork, { readers, producer, cost }: Conversion): void {
  if (readers.length === 0) return;
  const any = network.vertex();
  for (const reader of readers) network.arc(reader, any, FORBIDDEN);
  network.arc(any, producer, cost);
}

/** Paid once when the producer is integer and any reader is float. */
function addConversionToFloat(network: FlowNetwork, { readers, producer, cost }: Conversion): void {
  if (readers.length === 0) return;
  const all = network.vertex();
  network.arc(producer, all, cost);
  for (const reader of readers) network.arc(all, reader, FORBIDDEN);
}

/** Times of each unit, from a profile of the float model and one of the model with all units on codes. */
export function unitTimes(
  units: readonly IntegerUnit[],
  floatTimes: readonly KernelTime[],
  integerTimes: readonly KernelTime[],
): Map<string, UnitTime> {
  const float = timesByName(floatTimes);
  const integer = timesByName(integerTimes);
  return new Map(
    units.map((unit) => [unit.name, { float: sumOf(float, floatNames(unit)), integer: sumOf(integer, integerNames(unit)) }] as const),
  );
}

function sumOf(times: ReadonlyMap<string, number>, names: ReadonlySet<string>): number {
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

/** Microseconds: calling one more kernel. */
const FIXED = 2;
/** Microseconds per value where nothing was seen (AVX2, two cores). */
const PER_VALUE_TYPICAL = 0.0005;
const PER_VALUE_MIN = 0.0001;
/** At the border the layout changes, too: codes lie channels last, float channels in blocks. */
const LAYOUT_FACTOR = 2;
