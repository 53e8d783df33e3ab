/** From calibrated ranges to the parameters of every coded tensor; tensors that share codes share one range. */
import type { Value } from '../../ir/index.js';
import { nameMatcher } from '../../layers/name-patterns.js';
import { type ActivationParameters, type ActivationScheme, activationParameters } from './activation-parameters.js';
import type { IntegerUnit } from './integer-units.js';
import type { StaticInt8Options, TensorOverride } from './options.js';

export interface Range {
  readonly low: number;
  readonly high: number;
}

/**
 * Observed extremes are exceeded by samples that were not seen; this headroom costs 20 log10 1.05 = 0.4 dB of rounding noise at most.
 * Chosen on training images that were not calibrated with (1, 1.05, 1.1, 1.2 on six classifiers: docs/benchmarks.md).
 */
const HEADROOM = 1.05;

/** The range of a tensor that nodes make, for ranges that are observed extremes. What the caller feeds keeps its own: pixels lie on codes. */
export function withHeadroom({ low, high }: Range): Range {
  return { low: HEADROOM * low, high: HEADROOM * high };
}

export interface RangeRequest {
  readonly units: readonly IntegerUnit[];
  /** Chosen ranges by name of the tensor. */
  readonly calibrated: ReadonlyMap<string, Range>;
  readonly options: StaticInt8Options;
}

/** Parameters by name for every tensor that a unit reads or makes and that was calibrated. */
export function activationRanges({ units, calibrated, options }: RangeRequest): Map<string, ActivationParameters> {
  const bounds = new Map(units.map((unit) => [unit.output.name, unit.bounds]));
  const fixed = new Map(units.flatMap((unit) => (unit.fixedRange ? [[unit.output.name, unit.fixedRange] as const] : [])));
  const parameters = new Map<string, ActivationParameters>();
  for (const group of sharedCodes(units)) {
    const members = group.filter(({ name }) => calibrated.has(name) || fixed.has(name));
    if (members.length === 0) continue;
    const ranges = members.map(({ name }) => rangeOf(name, { calibrated, bounds: bounds.get(name), fixed: fixed.get(name) }));
    const rule = ruleFor(group, units, options.overrides ?? []);
    const range = rule.range ? { low: rule.range[0], high: rule.range[1] } : union(ranges);
    const chosen = activationParameters(range, schemeOf(rule, options));
    for (const { name } of group) parameters.set(name, chosen);
  }
  return parameters;
}

function rangeOf(
  name: string,
  known: { calibrated: ReadonlyMap<string, Range>; bounds: Range | undefined; fixed: readonly [number, number] | undefined },
): Range {
  if (known.fixed) return { low: known.fixed[0], high: known.fixed[1] };
  const { low, high } = known.calibrated.get(name) ?? { low: 0, high: 0 };
  const { bounds } = known;
  return bounds ? { low: Math.max(low, bounds.low), high: Math.min(high, bounds.high) } : { low, high };
}

function union(ranges: readonly Range[]): Range {
  return { low: Math.min(...ranges.map(({ low }) => low)), high: Math.max(...ranges.map(({ high }) => high)) };
}

/** Tensors tied by operators that move codes, each tensor of a unit in exactly one group (union-find). */
function sharedCodes(units: readonly IntegerUnit[]): Value[][] {
  const parent = new Map<Value, Value>();
  const find = (value: Value): Value => {
    let root = value;
    for (let above = parent.get(root); above !== undefined && above !== root; above = parent.get(root)) root = above;
    parent.set(value, root);
    return root;
  };
  for (const { role, inputs, output } of units) {
    for (const value of [...inputs, output]) find(value);
    if (role === 'same-range') for (const input of inputs) parent.set(find(input), find(output));
  }
  const groups = new Map<Value, Value[]>();
  for (const value of parent.keys()) {
    const root = find(value);
    groups.set(root, [...(groups.get(root) ?? []), value]);
  }
  return [...groups.values()];
}

/** What the overrides say about a group: later rules win, and one member is enough. */
function ruleFor(group: readonly Value[], units: readonly IntegerUnit[], overrides: readonly TensorOverride[]): TensorOverride {
  const members = new Set(group);
  const operators = new Set(
    units.filter(({ inputs, output }) => members.has(output) || inputs.some((input) => members.has(input))).map(({ node }) => node.opType),
  );
  const isMeant = ({ tensors, op_types }: TensorOverride): boolean => {
    const matches = nameMatcher(tensors ?? []);
    const byName = tensors === undefined || group.some(({ name }) => matches(name));
    return byName && (op_types === undefined || op_types.some((operator) => operators.has(operator)));
  };
  return Object.assign({}, ...overrides.filter(isMeant)) as TensorOverride;
}

function schemeOf(rule: TensorOverride, options: StaticInt8Options): ActivationScheme {
  return {
    type: rule.type ?? options.activation_type ?? 'uint8',
    symmetric: rule.symmetric ?? options.symmetric ?? false,
    powerOfTwo: options.power_of_two ?? false,
    ...(rule.scale === undefined ? {} : { fixed: { scale: Math.fround(rule.scale), zeroPoint: rule.zero_point ?? 0 } }),
  };
}
