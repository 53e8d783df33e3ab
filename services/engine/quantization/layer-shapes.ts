/** The shapes that activations have in a run: declared where they are fixed, otherwise observed by running the model once. */
import { type DataType, dataTypes, elementCount, type Model, type Shape, type Tensor, tensorOf, type Value } from '../ir/index.js';
import type { MethodContext } from '../method.js';

/** What a symbolic size other than the batch is taken to be when there are no samples: a short text, a second of a sensor. */
const TYPICAL_LENGTH = 64;

/**
 * The dims of `values` (of the main graph) for a batch of one sample, from the calibration samples or from generated inputs.
 * Values that could not be observed are missing from the result; a model that does not run gives those that are declared.
 */
export async function observeShapes(
  model: Model,
  values: readonly Value[],
  context: MethodContext,
): Promise<Map<Value, readonly number[]>> {
  const shapes = new Map<Value, readonly number[]>();
  const wanted = [...new Set(values)].filter((value) => {
    const dims = fixedDims(value);
    if (dims) shapes.set(value, dims);
    return !dims;
  });
  if (wanted.length === 0) return shapes;
  for await (const feeds of feedsToTry(model, context)) {
    const seen = await runOnce(model, { wanted, feeds, context });
    if (!seen) continue;
    for (const [value, dims] of seen) shapes.set(value, dims);
    break;
  }
  return shapes;
}

function fixedDims(value: Value): readonly number[] | undefined {
  const shape = value.type?.kind === 'tensor' ? value.type.shape : null;
  return shape?.every((size) => typeof size === 'number') ? shape : undefined;
}

async function* feedsToTry(model: Model, context: MethodContext): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  if (context.calibration) {
    for await (const batch of context.calibration.batches(1)) {
      const names = new Set(model.graph.inputs.map((input) => input.name));
      yield new Map([...batch].filter(([name]) => names.has(name)));
      break;
    }
  }
  for (const length of [TYPICAL_LENGTH, 1]) {
    const feeds = generatedFeeds(model, length);
    if (feeds) yield feeds;
  }
}

function generatedFeeds(model: Model, length: number): Map<string, Tensor> | undefined {
  const feeds = new Map<string, Tensor>();
  for (const input of model.graph.inputs) {
    if (model.graph.initializers.has(input)) continue;
    if (input.type?.kind !== 'tensor' || !input.type.dataType || !input.type.shape) return undefined;
    const tensor = onesTensor(input.type.dataType, generatedDims(input.type.shape, length));
    if (!tensor) return undefined;
    feeds.set(input.name, tensor);
  }
  return feeds;
}

function generatedDims(shape: Shape, length: number): number[] {
  return shape.map((size, axis) => {
    if (typeof size === 'number') return size;
    return axis === 0 || (typeof size === 'string' && /batch|^n$/i.test(size)) ? 1 : length;
  });
}

/** All ones: a valid token, an attention mask that hides nothing. */
function onesTensor(dataType: DataType, dims: readonly number[]): Tensor | undefined {
  const count = elementCount(dims);
  switch (dataType) {
    case 'float32':
      return tensorOf(dataType, dims, new Float32Array(count).fill(1));
    case 'float64':
      return tensorOf(dataType, dims, new Float64Array(count).fill(1));
    case 'int64':
      return tensorOf(dataType, dims, new BigInt64Array(count).fill(1n));
    case 'int32':
      return tensorOf(dataType, dims, new Int32Array(count).fill(1));
    default:
      return dataTypes[dataType].bits === 8 ? tensorOf(dataType, dims, new Uint8Array(count).fill(1)) : undefined;
  }
}

interface Observation {
  readonly wanted: readonly Value[];
  readonly feeds: ReadonlyMap<string, Tensor>;
  readonly context: MethodContext;
}

/** Runs the model with the wanted values as further outputs; undefined when the runtime refuses these inputs. */
async function runOnce(model: Model, { wanted, feeds, context }: Observation): Promise<Map<Value, readonly number[]> | undefined> {
  const { graph } = model;
  const shapes = new Map<Value, readonly number[]>();
  const inner: Value[] = [];
  for (const value of wanted) {
    const fed = graph.isInput(value) ? feeds.get(value.name) : undefined;
    if (fed) shapes.set(value, fed.dims);
    else if (value.producer?.graph === graph) inner.push(value);
  }
  const added = inner.filter((value) => !graph.isOutput(value));
  const types = added.map((value) => value.type);
  for (const value of added) value.type ??= { kind: 'tensor', dataType: 'float32', shape: null };
  graph.outputs.push(...added);
  try {
    const session = await context.runtime.open(model, { optimization: 'basic' });
    try {
      const results = await session.run(
        feeds,
        inner.map((value) => value.name),
      );
      for (const value of inner) {
        const dims = results.get(value.name)?.dims;
        if (dims) shapes.set(value, dims);
      }
      return shapes;
    } finally {
      await session.close();
    }
  } catch {
    // The model may refuse generated inputs (a table of one row, a fixed length); the next attempt or the fallback follows.
    context.signal.throwIfAborted();
    return undefined;
  } finally {
    graph.outputs.splice(graph.outputs.length - added.length, added.length);
    for (const [at, value] of added.entries()) value.type = types[at] ?? null;
  }
}
