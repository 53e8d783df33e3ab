/** Sizes of the intermediate values of a model for given inputs: inferred by the runtime without weights, observed by a run where that fails. */
import { EngineError } from '../engine-errors.js';
import { cloneModel } from '../ir/clone-model.js';
import { elementCount, type Graph, integerValues, type Model, Node, type Shape, type Tensor, Value } from '../ir/index.js';
import { NameAuthority } from '../ir/name-authority.js';
import { graphsWithin } from '../ir/traversal.js';
import { addBodyShapeOutputs, bodyNames } from './body-shapes.js';
import type { Runtime } from './execution-session.js';
import { inlineTakenBranches } from './inline-branches.js';
import { isExchanged } from './ort-tensors.js';

export interface ObservedShapes {
  /** Sizes by name of the value; a name that stands for values of different sizes (in sibling branches) is left out. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Values whose sizes could not be told: in branches not taken, in bodies of Loop, in functions, or not tensors. */
  readonly unknown: readonly string[];
}

export interface ObserveRequest {
  readonly model: Model;
  readonly feeds: ReadonlyMap<string, Tensor>;
}

/** Larger constants become graph inputs for the inference: their contents cannot decide a shape worth knowing. */
const SHAPE_CONSTANT_ELEMENTS_MAX = 4096;

/** Sizes that the runtime infers or shows for `feeds`; activations are never returned, only their sizes. */
export async function observeShapes(runtime: Runtime, request: ObserveRequest): Promise<ObservedShapes> {
  const shapes = new ShapeTable();
  for (const [name, tensor] of request.feeds) shapes.set(name, tensor.dims);
  /** Inference does not show the insides of branches. */
  const flat = { ...request, model: await inlineTakenBranches(runtime, request.model, request.feeds) };
  await inferShapes(runtime, flat, shapes);
  const missing = producedNames(flat.model.graph).filter((name) => !shapes.has(name));
  if (missing.length > 0) await runForShapes(runtime, flat, { shapes, reveal: (copy) => addShapeOutputs(copy, new Set(missing)) });
  if (bodyNames(flat.model.graph).some((name) => !shapes.has(name)))
    await runForShapes(runtime, flat, { shapes, reveal: addBodyShapeOutputs });
  return described(request.model, shapes);
}

/** The same from the runtime's inference alone: no weights are loaded and nothing is run. null when the runtime refuses the model in that form. */
export async function inferStaticShapes(runtime: Runtime, request: ObserveRequest): Promise<ObservedShapes | null> {
  const shapes = new ShapeTable();
  for (const [name, tensor] of request.feeds) shapes.set(name, tensor.dims);
  return (await inferShapes(runtime, request, shapes)) ? described(request.model, shapes) : null;
}

function described(model: Model, shapes: ShapeTable): ObservedShapes {
  const all = [...graphsWithin(model.graph)].flatMap(producedNames);
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

/**
 * Opens the model without weights and with every value as an output: the runtime says of outputs what it inferred.
 * False when it does not load in that form (some kernels want their weights as constants). Its word for a scalar is its
 * word for an unknown shape, so those stay open.
 */
async function inferShapes(runtime: Runtime, { model, feeds }: ObserveRequest, shapes: ShapeTable): Promise<boolean> {
  try {
    const session = await runtime.open(skeleton(model, feeds), { optimization: 'disabled', threads: 1 });
    for (const { name, shape } of session.outputs) if (shape && shape.length > 0 && isConcrete(shape)) shapes.set(name, shape);
    await session.close();
    return true;
  } catch (error) {
    if (error instanceof EngineError) return false;
    throw error;
  }
}

/** A copy with the sizes of the feeds on its inputs, every value as an output of open type, and large constants as inputs. */
function skeleton(model: Model, feeds: ReadonlyMap<string, Tensor>): Model {
  const copy = cloneModel(model);
  const produced = copy.graph.nodes.flatMap((node) => node.outputs).filter((value) => value !== null);
  for (const value of produced) value.type = null;
  copy.graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...produced);
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

/** Their outputs have no shape. */
const nonTensorOperators: ReadonlySet<string> = new Set([
  'SequenceConstruct',
  'SequenceEmpty',
  'SequenceInsert',
  'SequenceErase',
  'SequenceMap',
  'SplitToSequence',
  'Optional',
  'ZipMap',
]);

interface Revelation {
  readonly shapes: ShapeTable;
  /** Adds outputs that hold sizes; returns their names, each with the name of the value whose size it is. */
  reveal(copy: Model): ReadonlyMap<string, string>;
}

/** Runs once with a Shape node behind each wanted value: only the sizes leave the runtime. Values that refuse one stay unknown. */
async function runForShapes(runtime: Runtime, { model, feeds }: ObserveRequest, { shapes, reveal }: Revelation): Promise<void> {
  const copy = cloneModel(model);
  const sizeOf = reveal(copy);
  if (sizeOf.size === 0) return;
  try {
    const session = await runtime.open(copy, { optimization: 'disabled' });
    try {
      const sizes = await session.run(feeds, [...sizeOf.keys()]);
      /** A loop gives one row per step; the first tells what all do. */
      for (const [name, size] of sizes) shapes.set(sizeOf.get(name) ?? name, integerValues(size).slice(0, size.dims.at(-1)));
    } finally {
      await session.close();
    }
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
  }
}

/** Names of the new outputs, each with the name of the value whose size it is. */
function addShapeOutputs(model: Model, wanted: ReadonlySet<string>): Map<string, string> {
  const authority = new NameAuthority(model);
  const sizeOf = new Map<string, string>();
  for (const node of [...model.graph.nodes]) {
    if (nonTensorOperators.has(node.opType)) continue;
    for (const value of node.outputs) {
      if (!value || !wanted.has(value.name) || (value.type !== null && value.type.kind !== 'tensor')) continue;
      const size = new Value(authority.valueName(`${value.name}_shape`), { kind: 'tensor', dataType: 'int64', shape: [null] });
      model.graph.append(new Node({ opType: 'Shape', name: authority.nodeName('observe_shape'), inputs: [value], outputs: [size] }));
      model.graph.outputs.push(size);
      sizeOf.set(size.name, value.name);
    }
  }
  return sizeOf;
}
