/** Small ONNX models for tests of the engine, built from nodes by name. */
import {
  type Attribute,
  type DataType,
  Graph,
  Model,
  Node,
  type Shape,
  type Tensor,
  tensorOf,
  Value,
} from '../../services/engine/ir/index.js';

export interface TensorSpec {
  readonly name: string;
  readonly dataType?: DataType;
  readonly shape: Shape | null;
}

export interface NodeSpec {
  readonly opType: string;
  readonly domain?: string;
  readonly name?: string;
  /** Names; '' is an omitted input. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

export interface GraphSpec {
  readonly inputs?: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  readonly constants?: Readonly<Record<string, Tensor>>;
  readonly nodes: readonly NodeSpec[];
}

const typed = ({ name, dataType, shape }: TensorSpec): Value => new Value(name, { kind: 'tensor', dataType: dataType ?? 'float32', shape });

/** `outer` gives the values that a branch may capture. */
export function buildGraph(spec: GraphSpec, outer: ReadonlyMap<string, Value> = new Map()): Graph {
  const graph = new Graph('test');
  const values = new Map(outer);
  for (const input of spec.inputs ?? []) {
    const value = typed(input);
    graph.inputs.push(value);
    values.set(value.name, value);
  }
  for (const [name, tensor] of Object.entries(spec.constants ?? {})) values.set(name, graph.addInitializer(name, tensor));
  const outputs = spec.outputs.map(typed);
  for (const value of outputs) if (!values.has(value.name)) values.set(value.name, value);
  for (const node of spec.nodes) {
    const made = node.outputs.map((name) => outputs.find((output) => output.name === name) ?? new Value(name));
    for (const value of made) values.set(value.name, value);
    graph.append(
      new Node({
        opType: node.opType,
        ...(node.domain ? { domain: node.domain } : {}),
        name: node.name ?? node.outputs[0] ?? '',
        inputs: node.inputs.map((name) => (name === '' ? null : (values.get(name) ?? null))),
        outputs: made,
        attributes: node.attributes ?? {},
      }),
    );
  }
  graph.outputs.push(...outputs.map((output) => values.get(output.name) ?? output));
  return graph;
}

export function buildModel(spec: GraphSpec): Model {
  const model = new Model(buildGraph(spec));
  model.irVersion = 10;
  model.opsetImports.set('', 17);
  if (spec.nodes.some((node) => node.domain === 'com.microsoft')) model.opsetImports.set('com.microsoft', 1);
  return model;
}

/** Reproducible weights in [-1, 1]. */
export function weights(dims: readonly number[], seed = 1): Tensor {
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state / 0x3fffffff - 1;
  };
  return tensorOf('float32', dims, Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, next));
}

/** x[batch, features] -> Gemm -> Relu -> Gemm -> logits[batch, classes]. */
export function classifier({ features = 16, hidden = 32, classes = 10, batch = 'batch' as string | number } = {}): Model {
  return buildModel({
    inputs: [{ name: 'x', shape: [batch, features] }],
    outputs: [{ name: 'logits', shape: [batch, classes] }],
    constants: {
      w1: weights([features, hidden], 1),
      b1: weights([hidden], 2),
      w2: weights([hidden, classes], 3),
      b2: weights([classes], 4),
    },
    nodes: [
      { opType: 'Gemm', inputs: ['x', 'w1', 'b1'], outputs: ['h'] },
      { opType: 'Relu', inputs: ['h'], outputs: ['r'] },
      { opType: 'Gemm', inputs: ['r', 'w2', 'b2'], outputs: ['logits'] },
    ],
  });
}
