/** Which trained numbers a penalty pulls to zero together. */
import { elementCount, type Model } from '../../ir/index.js';
import type { ConstantSlices, RemovableGroup } from '../../method.js';
import type { Parameter } from '../trainable-model.js';

/** Where the units of a group stand in one parameter. */
export interface PenaltyPart {
  readonly parameter: Parameter;
  readonly axis: number;
  readonly within?: NonNullable<ConstantSlices['within']>;
  /** Indices along the axis by unit; none where the unit has nothing here. */
  readonly indices: readonly (readonly number[])[];
}

export interface PenaltyGroup {
  readonly units: number;
  readonly parts: readonly PenaltyPart[];
}

/** The scales of BatchNormalizations among `parameters`: what Network Slimming looks at. */
export function scalesAmong({ graph }: Model, parameters: ReadonlyMap<string, Parameter>): Map<string, Parameter> {
  const names = graph.nodes.flatMap(({ opType, domain, inputs }) =>
    opType === 'BatchNormalization' && domain === '' ? (inputs[1]?.name ?? []) : [],
  );
  return new Map(
    names.flatMap((name) => {
      const parameter = parameters.get(name);
      return parameter ? [[name, parameter] as const] : [];
    }),
  );
}

/** Of each group what is trained; biases are left alone, as by weight decay. */
export function structureGroups(groups: readonly RemovableGroup[], trained: ReadonlyMap<string, Parameter>): PenaltyGroup[] {
  return groups.flatMap(({ units }) => {
    const parts = new Map<string, PenaltyPart & { readonly indices: number[][] }>();
    for (const [unit, slices] of units.entries()) {
      for (const { constant, axis, indices, within } of slices) {
        const parameter = trained.get(constant);
        if (!parameter || parameter.role === 'bias') continue;
        const key = JSON.stringify([constant, axis, within]);
        const part = parts.get(key) ?? { parameter, axis, ...(within ? { within } : {}), indices: units.map((): number[] => []) };
        parts.set(key, part);
        part.indices[unit]?.push(...indices);
      }
    }
    return parts.size === 0 ? [] : [{ units: units.length, parts: [...parts.values()] }];
  });
}

/** Numbers of each unit. */
export function unitSizes({ units, parts }: PenaltyGroup): number[] {
  return Array.from({ length: units }, (_, unit) =>
    parts.reduce((sum, { parameter: { dims }, axis, within, indices }) => {
      const slice = elementCount(dims) / (dims[axis] ?? 1);
      const share = within ? (within.to - within.from) / (dims[within.axis] ?? 1) : 1;
      return sum + (indices[unit]?.length ?? 0) * slice * share;
    }, 0),
  );
}

/** Sum of the squares of each unit. `valuesOf`: of a parameter, in the order of its elements. */
export function unitSquares({ units, parts }: PenaltyGroup, valuesOf: (parameter: Parameter) => Float32Array): Float64Array {
  const squares = new Float64Array(units);
  for (const part of parts) {
    const sums = axisSquares(part, valuesOf(part.parameter));
    for (const [unit, indices] of part.indices.entries())
      squares[unit] = indices.reduce((sum, index) => sum + (sums[index] ?? 0), squares[unit] ?? 0);
  }
  return squares;
}

/** [size of the axis]. */
function axisSquares({ parameter: { dims }, axis, within }: PenaltyPart, values: Float32Array): Float64Array {
  const sums = new Float64Array(dims[axis] ?? 1);
  const place = (of: number, at: number): number => Math.floor(at / elementCount(dims.slice(of + 1))) % (dims[of] ?? 1);
  for (const [at, value] of values.entries()) {
    if (within && !(place(within.axis, at) >= within.from && place(within.axis, at) < within.to)) continue;
    const index = place(axis, at);
    sums[index] = (sums[index] ?? 0) + value ** 2;
  }
  return sums;
}
