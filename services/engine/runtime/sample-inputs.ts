/** Makes feeds for any model out of its declared inputs: sizes for its open axes and values of a sensible range. */
import { EngineError } from '../engine-errors.js';
import { elementWriters } from '../ir/element-access.js';
import { byteCount, bytesInMemory, type DataType, elementCount, type Model, type Tensor } from '../ir/index.js';
import type { ExecutionSession, InputOutputInfo } from './execution-session.js';
import { indexBound } from './index-bounds.js';
import { type PseudoRandom, pseudoRandom } from './pseudo-random.js';

/** Sizes of every input of one run, by name. */
export type InputShapes = ReadonlyMap<string, readonly number[]>;

export interface SampleMaker {
  readonly shapes: InputShapes;
  /** Feeds number `index`; the same index gives the same feeds. */
  make(index: number): ReadonlyMap<string, Tensor>;
}

/** Sizes tried for the open axes other than the batch, until the model runs: a usual sequence, images, an audio frame, then small ones. */
const OPEN_AXIS_SIZES = [64, 224, 512, 256, 128, 32, 16, 8, 4, 2, 1] as const;
const ELEMENTS_MAX = 2 ** 28;
const SAMPLE_RATE = 16_000n;

const namedLike = {
  mask: /mask/i,
  state: /(^|[^a-z])(state|hidden|cache|past|h0|c0|hn|cn|h|c)([^a-z]|$)|cache|past_|state/i,
  sampleRate: /^(sr|sample_?rate|sampling_?rate|fs)$/i,
} as const;

/**
 * Finds sizes that the model runs with and returns a maker of feeds of these sizes: batch 1, floats standard normal,
 * masks one, states zero, indices inside the tables they select from. Throws EngineError `model_unsupported` when no size works.
 */
export async function findSampleInputs(model: Model, session: ExecutionSession): Promise<SampleMaker> {
  let refusal: unknown;
  for (const size of OPEN_AXIS_SIZES) {
    const maker = proposeSampleInputs(model, session.inputs, size);
    if ([...maker.shapes.values()].some((dims) => elementCount(dims) > ELEMENTS_MAX)) continue;
    try {
      await session.run(maker.make(0));
      return maker;
    } catch (error) {
      refusal ??= error;
      if (!hasOpenAxes(session.inputs)) break;
    }
  }
  const reason = refusal instanceof Error ? refusal.message : 'the inputs are too large';
  throw new EngineError(
    'model_unsupported',
    `No inputs could be made that the model runs with; give a data set. First refusal: ${reason}`,
    {},
    { cause: refusal },
  );
}

/** The same without trying whether the model runs with them: batch 1, `openSize` for the other open axes. */
export function proposeSampleInputs(model: Model, inputs: readonly InputOutputInfo[], openSize: number = OPEN_AXIS_SIZES[0]): SampleMaker {
  const bounds = new Map(model.graph.inputs.map((value) => [value.name, indexBound(model.graph, value)] as const));
  const shapes: InputShapes = new Map(inputs.map((input) => [input.name, concreteShape(input, openSize)]));
  return makerFor(inputs, shapes, bounds);
}

function hasOpenAxes(inputs: readonly InputOutputInfo[]): boolean {
  return inputs.some(({ shape }) => shape === null || shape.some((size) => typeof size !== 'number'));
}

const batchName = /^(n|b|bs|batch|batch_?size|.*batch.*)$/i;

function concreteShape({ shape }: InputOutputInfo, openSize: number): readonly number[] {
  if (shape === null) return [1];
  return shape.map((size, axis) => {
    if (typeof size === 'number') return size;
    return (size !== null && batchName.test(size)) || axis === 0 || isInnerBatch(shape, axis) ? 1 : openSize;
  });
}

/** Recurrent states are [layers, batch, hidden]: an unnamed open axis after a fixed first one is the batch. */
function isInnerBatch(shape: readonly (number | string | null)[], axis: number): boolean {
  return axis === 1 && shape.length === 3 && typeof shape[0] === 'number' && typeof shape[2] === 'number' && shape[axis] === null;
}

function makerFor(inputs: readonly InputOutputInfo[], shapes: InputShapes, bounds: ReadonlyMap<string, number | null>): SampleMaker {
  return {
    shapes,
    make(index) {
      const random = pseudoRandom(0x51ed270b + index);
      return new Map(
        inputs.map((input) => [
          input.name,
          sampleTensor(input, { dims: shapes.get(input.name) ?? [], bound: bounds.get(input.name) ?? null, random }),
        ]),
      );
    },
  };
}

interface SampleRequest {
  readonly dims: readonly number[];
  /** Integers stay below it; null when unknown. */
  readonly bound: number | null;
  readonly random: PseudoRandom;
}

function sampleTensor({ name, dataType }: InputOutputInfo, { dims, bound, random }: SampleRequest): Tensor {
  const count = elementCount(dims);
  if (dataType === 'string') {
    return {
      dataType,
      dims,
      data: bytesInMemory(new Uint8Array()),
      strings: Array.from({ length: count }, () => new TextEncoder().encode('a')),
    };
  }
  const bytes = new Uint8Array(byteCount(dataType, count));
  const view = new DataView(bytes.buffer);
  const width = bytes.byteLength / Math.max(1, count);
  const write = elementWriters[dataType];
  if (!write)
    throw new EngineError('model_unsupported', `No values can be made for input "${name}" of type ${dataType}; give a data set.`, {
      input: name,
    });
  const next = valueSource(name, dataType, { bound, random });
  for (let index = 0; index < count; index++) write(view, index * width, next());
  return { dataType, dims, data: bytesInMemory(bytes) };
}

function valueSource(name: string, dataType: DataType, { bound, random }: Omit<SampleRequest, 'dims'>): () => number {
  if (namedLike.mask.test(name) || dataType === 'bool') return () => 1;
  if (dataType.startsWith('float')) return namedLike.state.test(name) ? () => 0 : () => random.normal();
  if (namedLike.sampleRate.test(name)) return () => Number(SAMPLE_RATE);
  if (bound !== null) return () => random.below(Math.max(1, bound));
  if (dataType === 'uint8') return () => random.below(256);
  /** Nothing says how these are used; 0 and 1 are inside almost every range. */
  return () => random.below(2);
}
