/** Sizes of the intermediate values of a model for given inputs: inferred by the runtime without weights, observed by a run where that fails. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../engine-errors.js';
import { cloneModel } from '../ir/clone-model.js';
import { elementCount, type Graph, integerValues, type Model, Node, type Shape, type Tensor, Value } from '../ir/index.js';
import { NameAuthority } from '../ir/name-authority.js';
import { graphsWithin } from '../ir/traversal.js';
import { decodeModelFile } from '../onnx/index.js';
import type { Runtime } from './execution-session.js';
import { inlineTakenBranches } from './inline-branches.js';
import { isExchanged } from './ort-tensors.js';

export interface ObservedShapes {
  /** Sizes by name of the value; a name that stands for values of different sizes (in sibling branches) is left out. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Values whose sizes could not be told: in branches not taken, in loop bodies, in functions, or not tensors. */
  readonly unknown: readonly string[];
}

export interface ObserveRequest {
  readonly model: Model;
  readonly feeds: ReadonlyMap<string, Tensor>;
  /** Existing private folder for temporary files. */
  readonly scratch: string;
}

/** Larger constants become graph inputs for the inference: their contents cannot decide a shape worth knowing. */
const SHAPE_CONSTANT_ELEMENTS_MAX = 4096;

/** Sizes that the runtime infers or shows for `feeds`; activations are never returned, only their sizes. Throws what running throws. */
export async function observeShapes(runtime: Runtime, request: ObserveRequest): Promise<ObservedShapes> {
  const shapes = new ShapeTable();
  for (const [name, tensor] of request.feeds) shapes.set(name, tensor.dims);
  /** The runtime writes no facts for the insides of branches. */
  const flat = { ...request, model: await inlineTakenBranches(runtime, request.model, request.feeds) };
  const inferred = await inferShapes(runtime, flat);
  if (inferred) for (const graph of graphsWithin(inferred.graph)) collectTypes(graph, shapes);
  const missing = producedNames(flat.model.graph).filter((name) => !shapes.has(name));
  if (missing.length > 0) await runForShapes(runtime, { ...flat, names: missing, shapes });
  const all = [...graphsWithin(request.model.graph)].flatMap(producedNames);
  return { shapes: shapes.agreed(), unknown: [...new Set(all)].filter((name) => !shapes.has(name)) };
}

/** Sizes by name, with names that were given two different sizes struck out. */
class ShapeTable {
  private readonly sizes = new Map<string, readonly number[] | 'ambiguous'>();

  set(name: string, dims: readonly number[]): void {
    const present = this.sizes.get(name);
    if (present === undefined) this.sizes.set(name, dims);
    else if (present !== 'ambiguous' && present.join() !== dims.join()) this.sizes.set(name, 'ambiguous');
  }

  has(name: string): boolean {
    const present = this.sizes.get(name);
    return present !== undefined && present !== 'ambiguous';
  }

  agreed(): Map<string, readonly number[]> {
    return new Map([...this.sizes].flatMap(([name, dims]) => (dims === 'ambiguous' ? [] : [[name, dims] as const])));
  }
}

function producedNames(graph: Graph): string[] {
  return graph.nodes.flatMap((node) => node.outputs.flatMap((value) => (value ? [value.name] : [])));
}

function isConcrete(shape: Shape): shape is readonly number[] {
  return shape.every((size) => typeof size === 'number');
}

function collectTypes(graph: Graph, shapes: ShapeTable): void {
  const produced = graph.nodes.flatMap((node) => node.outputs).filter((value) => value !== null);
  for (const value of produced) {
    if (value.type?.kind === 'tensor' && value.type.shape && isConcrete(value.type.shape)) shapes.set(value.name, value.type.shape);
  }
}

/**
 * The model as the runtime writes it after inference, without weights; null when it does not load in that form
 * (some kernels want their weights as constants).
 */
async function inferShapes(runtime: Runtime, { model, feeds, scratch }: ObserveRequest): Promise<Model | null> {
  const path = join(scratch, `shapes-${randomUUID()}.onnx`);
  try {
    const session = await runtime.open(skeleton(model, feeds), { optimization: 'disabled', threads: 1, optimizedModelPath: path });
    await session.close();
    return decodeModelFile(path);
  } catch (error) {
    if (error instanceof EngineError) return null;
    throw error;
  } finally {
    await rm(path, { force: true });
  }
}

/** A copy with the sizes of the feeds on its inputs, no other claims about sizes, and large constants as inputs. */
function skeleton(model: Model, feeds: ReadonlyMap<string, Tensor>): Model {
  const copy = cloneModel(model);
  for (const graph of graphsWithin(copy.graph)) {
    for (const value of graph.nodes.flatMap((node) => node.outputs)) if (value) value.type = withoutShape(value);
  }
  for (const input of copy.graph.inputs) {
    const feed = feeds.get(input.name);
    if (feed) input.type = { kind: 'tensor', dataType: feed.dataType, shape: feed.dims };
  }
  const isInput = new Set(copy.graph.inputs);
  for (const [value, tensor] of copy.graph.initializers) {
    if (elementCount(tensor.dims) <= SHAPE_CONSTANT_ELEMENTS_MAX || !isExchanged(tensor.dataType)) continue;
    copy.graph.initializers.delete(value);
    value.type = { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims };
    if (!isInput.has(value)) copy.graph.inputs.push(value);
  }
  return copy;
}

function withoutShape({ type }: Value): Value['type'] {
  return type?.kind === 'tensor' ? { kind: 'tensor', dataType: type.dataType, shape: null } : type;
}

/** Runs once with a Shape node behind each named value: only the sizes leave the runtime. */
async function runForShapes(
  runtime: Runtime,
  { model, feeds, names, shapes }: ObserveRequest & { names: readonly string[]; shapes: ShapeTable },
): Promise<void> {
  const copy = cloneModel(model);
  const wanted = new Set(names);
  const authority = new NameAuthority(copy);
  const observed = new Map<string, string>();
  for (const node of [...copy.graph.nodes]) {
    for (const value of node.outputs) {
      if (!value || !wanted.has(value.name) || (value.type !== null && value.type.kind !== 'tensor')) continue;
      const size = new Value(authority.valueName(`${value.name}_shape`), { kind: 'tensor', dataType: 'int64', shape: [null] });
      copy.graph.insertAfter(
        node,
        new Node({ opType: 'Shape', name: authority.nodeName('observe_shape'), inputs: [value], outputs: [size] }),
      );
      copy.graph.outputs.push(size);
      observed.set(size.name, value.name);
    }
  }
  if (observed.size === 0) return;
  const session = await runtime.open(copy, { optimization: 'disabled' });
  try {
    const sizes = await session.run(feeds, [...observed.keys()]);
    for (const [sizeName, name] of observed) {
      const size = sizes.get(sizeName);
      if (size) shapes.set(name, integerValues(size));
    }
  } finally {
    await session.close();
  }
}
