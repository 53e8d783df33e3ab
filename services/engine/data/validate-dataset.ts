/** Matches the arrays of a data set to the inputs of a graph: names, element types, axes; says how each array feeds its input. */
import { EngineError } from '../engine-errors.js';
import type { DataType, Shape } from '../ir/index.js';
import type { InputOutputInfo } from '../runtime/execution-session.js';
import { canCast } from './cast-elements.js';
import { isNumbered, numberedCount, numberedName } from './numbered-arrays.js';
import { pairStates, type StatePair } from './state-pairs.js';

export const LABELS = 'labels';
/** One number per sample: of the sequence that it belongs to. Without it all samples are one sequence. */
export const SEQUENCES = 'sequences';

export interface ArrayFacts {
  readonly dataType: DataType;
  readonly dims: readonly number[];
}

/**
 * How an array feeds its input:
 * 'batched': as many axes as the input, the first of both is the sample axis;
 * 'stacked': one axis more than the input, each row is one whole value of it (a state, a scalar);
 * 'shared': no axis, one scalar for all samples;
 * 'numbered': an array NAME_0, NAME_1, ... per sample, of its own sizes.
 */
export type Feeding = 'batched' | 'stacked' | 'shared' | 'numbered';

export interface InputBinding {
  readonly input: InputOutputInfo;
  readonly feeding: Feeding;
}

export interface DatasetBinding {
  readonly sampleCount: number;
  readonly inputs: readonly InputBinding[];
  /** Inputs without an array that take an output of the run before; runs are of one sample then. */
  readonly states: readonly StatePair[];
  /** Samples that one run must take; null when the graph takes any number. */
  readonly fixedBatch: number | null;
  readonly labelled: boolean;
  /** Labels are numbered, too. */
  readonly labelsNumbered: boolean;
  readonly sequenced: boolean;
}

function invalid(array: string, what: string, facts: { expected?: unknown; got?: unknown } = {}): EngineError {
  return new EngineError('dataset_invalid', what, { array, ...facts });
}

function shapeText(shape: Shape): string {
  return `[${shape.map((size) => size ?? '?').join(', ')}]`;
}

/**
 * Inputs without an array are states, when `outputs` has one to carry for each. Throws EngineError `dataset_invalid` with the
 * array's name, what was expected and what was found.
 */
export function validateDataset(
  arrays: ReadonlyMap<string, ArrayFacts>,
  inputs: readonly InputOutputInfo[],
  outputs: readonly InputOutputInfo[] = [],
): DatasetBinding {
  const names = inputs.map((input) => input.name);
  const extras = [LABELS, SEQUENCES].filter((name) => arrays.has(name) && !names.includes(name));
  const numbered = new Map(
    [...names, ...(names.includes(LABELS) ? [] : [LABELS])].map((name) => [name, numberedCount(arrays, name)] as const),
  );
  const isSample = (name: string): boolean => [...numbered].some(([base, count]) => count > 0 && isNumbered(name, base));
  for (const name of arrays.keys()) {
    if (!names.includes(name) && !extras.includes(name) && !isSample(name)) {
      throw invalid(name, `The data set holds array "${name}", but the model has no such input; its inputs are ${names.join(', ')}.`, {
        expected: names,
        got: name,
      });
    }
  }
  const sequences = extras.includes(SEQUENCES) ? arrays.get(SEQUENCES) : undefined;
  if (sequences && (sequences.dims.length !== 1 || !canCast(sequences.dataType, 'int64')))
    throw invalid(SEQUENCES, `Array "${SEQUENCES}" must hold one integer per sample: the number of its sequence.`, { got: sequences.dims });
  const isGiven = ({ name }: InputOutputInfo): boolean => arrays.has(name) || (numbered.get(name) ?? 0) > 0;
  const given = inputs.filter(isGiven);
  const absent = inputs.filter((input) => !isGiven(input));
  const states = pairStates(absent, outputs, given);
  const lacking = absent.find((input) => !states.some((state) => state.input === input));
  if (lacking)
    throw invalid(lacking.name, `The data set lacks array "${lacking.name}"; it holds ${[...arrays.keys()].join(', ')}.`, {
      expected: lacking.name,
      got: [...arrays.keys()],
    });
  const bindings = given.flatMap((input) => {
    const array = arrays.get(input.name);
    if (array) return [{ input, feeding: feedingOf(array, input) }];
    checkNumbered(arrays, input, numbered.get(input.name) ?? 0);
    return [{ input, feeding: 'numbered' as const }];
  });
  const labelsNumbered = !names.includes(LABELS) && (numbered.get(LABELS) ?? 0) > 0;
  return {
    sampleCount: commonRows(arrays, bindings, labelsNumbered ? [...extras, LABELS] : extras),
    inputs: bindings,
    states,
    fixedBatch: fixedBatch(bindings, states.length > 0),
    labelled: extras.includes(LABELS) || labelsNumbered,
    labelsNumbered,
    sequenced: extras.includes(SEQUENCES),
  };
}

function feedingOf(array: ArrayFacts, input: InputOutputInfo): Feeding {
  const { name, dataType, shape } = input;
  if (!canCast(array.dataType, dataType)) {
    throw invalid(name, `Array "${name}" is ${array.dataType}, but the model's input takes ${dataType}; convert it before saving.`, {
      expected: dataType,
      got: array.dataType,
    });
  }
  if (!shape) {
    if (array.dims.length > 0) return 'batched';
    throw invalid(name, `Array "${name}" has no axis, but its first axis must be the samples.`, { got: array.dims });
  }
  if (shape.length === 0 && array.dims.length === 0) return 'shared';
  const feeding = array.dims.length === shape.length ? 'batched' : 'stacked';
  const declared = feeding === 'batched' ? shape.slice(1) : shape;
  const sizes = array.dims.slice(1);
  if (sizes.length !== declared.length || declared.some((size, axis) => typeof size === 'number' && size !== sizes[axis])) {
    const expected = `${shapeText(['samples', ...shape.slice(1)])} or ${shapeText(['samples', ...shape])}`;
    throw invalid(name, `Array "${name}" has shape ${shapeText(array.dims)}, but the model's input "${name}" needs ${expected}.`, {
      expected: shape,
      got: array.dims,
    });
  }
  return feeding;
}

/** Each sample has the axes of the input, with one sample on the first, or all axes but that. */
function checkNumbered(arrays: ReadonlyMap<string, ArrayFacts>, input: InputOutputInfo, count: number): void {
  for (let sample = 0; sample < count; sample++) {
    const name = numberedName(input.name, sample);
    const array = arrays.get(name);
    if (!array) continue;
    if (!canCast(array.dataType, input.dataType))
      throw invalid(
        name,
        `Array "${name}" is ${array.dataType}, but the model's input takes ${input.dataType}; convert it before saving.`,
        {
          expected: input.dataType,
          got: array.dataType,
        },
      );
    const { shape } = input;
    if (!shape) continue;
    const dims = sampleDims(array.dims, shape.length);
    if (dims.length !== shape.length || shape.some((size, axis) => typeof size === 'number' && size !== dims[axis]))
      throw invalid(
        name,
        `Array "${name}" has shape ${shapeText(array.dims)}, but one sample of the model's input is ${shapeText(shape)}.`,
        {
          expected: shape,
          got: array.dims,
        },
      );
  }
}

/** Sizes of one numbered sample as it is fed to an input of `rank` axes. */
export function sampleDims(dims: readonly number[], rank: number): readonly number[] {
  return dims.length === rank - 1 ? [1, ...dims] : dims;
}

function commonRows(arrays: ReadonlyMap<string, ArrayFacts>, bindings: readonly InputBinding[], extras: readonly string[]): number {
  const counted = [...bindings.filter(({ feeding }) => feeding !== 'shared').map(({ input }) => input.name), ...extras];
  const rows = counted.map((name) => ({ name, count: arrays.get(name)?.dims[0] ?? (numberedCount(arrays, name) || 1) }));
  const first = rows[0];
  if (!first) throw invalid('', 'The data set has no array with a sample axis.');
  for (const { name, count } of rows) {
    if (count !== first.count) {
      throw invalid(name, `Array "${name}" has ${count} samples, but "${first.name}" has ${first.count}.`, {
        expected: first.count,
        got: count,
      });
    }
  }
  if (first.count === 0) throw invalid(first.name, 'The data set has no samples.', { got: 0 });
  return first.count;
}

/** One, when an input takes one whole value per run, or what a run leaves goes into the next one. */
function fixedBatch(bindings: readonly InputBinding[], hasStates: boolean): number | null {
  if (hasStates || bindings.some(({ feeding }) => feeding === 'stacked' || feeding === 'numbered')) {
    const wide = bindings.find(
      ({ input, feeding }) => feeding === 'batched' && typeof input.shape?.[0] === 'number' && input.shape[0] !== 1,
    );
    if (wide)
      throw invalid(
        wide.input.name,
        `Input "${wide.input.name}" takes ${wide.input.shape?.[0]} samples at once, but another input takes one value per run.`,
      );
    return 1;
  }
  const fixed = bindings.filter(({ feeding }) => feeding === 'batched').map(({ input }) => input.shape?.[0]);
  const sizes = new Set(fixed.filter((size) => typeof size === 'number'));
  const [size, other] = [...sizes];
  if (other !== undefined) throw invalid('', `The model's inputs take different numbers of samples at once: ${[...sizes].join(', ')}.`);
  return size ?? null;
}
