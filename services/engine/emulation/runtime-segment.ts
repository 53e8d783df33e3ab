/** A part of a graph as a model of its own, run by the runtime. */
import { EngineError } from '../engine-errors.js';
import { cloneNode, dependencies, Graph, Model, type Node, type Shape, type Tensor, Value } from '../ir/index.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';

/** Values by what they name: the state of a run. */
export type Bindings = Map<Value, Tensor>;

export interface SegmentOptions {
  readonly nodes: readonly Node[];
  /** The values that someone outside the segment reads. */
  readonly outputs: readonly Value[];
  /** The model that the nodes come from. */
  readonly model: Model;
  readonly constants: ReadonlyMap<Value, Tensor>;
  readonly runtime: Runtime;
}

export class RuntimeSegment {
  private session: ExecutionSession | undefined;
  private readonly inputs: readonly Value[];

  constructor(private readonly options: SegmentOptions) {
    const made = new Set(options.nodes.flatMap((node) => node.outputs));
    const read = new Set(options.nodes.flatMap((node) => [...dependencies(node)]));
    this.inputs = [...read].filter((value) => !made.has(value) && !options.constants.has(value) && !isSparse(value, options.model));
  }

  /** Runs the nodes and adds what they make to the bindings. */
  async run(bindings: Bindings): Promise<void> {
    const feeds = this.inputs.map((value): [Value, Tensor] => [value, bound(value, bindings)]);
    // The element types of the inputs are known for certain when they are there, so the segment is opened at its first run.
    this.session ??= await this.options.runtime.open(segmentModel(this.options, feeds));
    const results = await this.session.run(new Map(feeds.map(([value, tensor]) => [value.name, tensor])));
    for (const output of this.options.outputs) {
      const result = results.get(output.name);
      if (result) bindings.set(output, result);
    }
  }

  async close(): Promise<void> {
    await this.session?.close();
  }
}

/** The tensor of a value that was made before it is read. */
export function bound(value: Value, bindings: Bindings): Tensor {
  const tensor = bindings.get(value);
  if (!tensor) throw new EngineError('runtime_failed', `The value "${value.name}" was not computed.`);
  return tensor;
}

function isSparse(value: Value, model: Model): boolean {
  return model.graph.sparseInitializers.has(value);
}

function segmentModel({ nodes, outputs, model, constants }: SegmentOptions, feeds: readonly (readonly [Value, Tensor])[]): Model {
  const graph = new Graph('segment');
  const copies = new Map<Value, Value>();
  for (const [value, { dataType, dims }] of feeds) {
    const copy = new Value(value.name, { kind: 'tensor', dataType, shape: agreedShape(value, dims) });
    copies.set(value, copy);
    graph.inputs.push(copy);
  }
  for (const node of nodes) {
    for (const value of dependencies(node)) {
      const constant = constants.get(value);
      const sparse = model.graph.sparseInitializers.get(value);
      if (copies.has(value) || (!constant && !sparse)) continue;
      const copy = new Value(value.name, value.type);
      copies.set(value, copy);
      if (constant) graph.initializers.set(copy, constant);
      else if (sparse) graph.sparseInitializers.set(copy, sparse);
    }
    for (const output of node.outputs) if (output) copies.set(output, new Value(output.name));
  }
  for (const node of nodes) graph.append(cloneNode(node, copies));
  for (const output of outputs) graph.outputs.push(copies.get(output) ?? output);
  return modelAround(graph, model);
}

/** The sizes that the model declares and the run confirms; anything else may change from run to run. */
function agreedShape({ type }: Value, dims: readonly number[]): Shape {
  const declared = type?.kind === 'tensor' && type.shape?.length === dims.length ? type.shape : null;
  return dims.map((size, axis) => (declared?.[axis] === size ? size : null));
}

function modelAround(graph: Graph, source: Model): Model {
  const model = new Model(graph);
  model.irVersion = Math.max(source.irVersion, 4);
  for (const [domain, version] of source.opsetImports) model.opsetImports.set(domain, version);
  model.functions.push(...source.functions);
  return model;
}
