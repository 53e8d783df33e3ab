/** Which constants of a model are its parameters: told by what reads them, as files do not say. */
import { elementCount, type Graph, type Node, type Tensor, type Value } from '../ir/index.js';
import { graphsWithin } from '../ir/traversal.js';

/** What a parameter is for decides whether weight decay applies: to weights, never to biases, scales and shifts. */
export type ParameterRole = 'weight' | 'bias' | 'scale';

/** Inputs that hold parameters, by operator. */
const roles: Readonly<Record<string, Readonly<Record<number, ParameterRole>>>> = {
  Conv: { 1: 'weight', 2: 'bias' },
  ConvTranspose: { 1: 'weight', 2: 'bias' },
  Gemm: { 0: 'weight', 1: 'weight', 2: 'bias' },
  MatMul: { 0: 'weight', 1: 'weight' },
  Gather: { 0: 'weight' },
  LSTM: { 1: 'weight', 2: 'weight', 3: 'bias' },
  GRU: { 1: 'weight', 2: 'weight', 3: 'bias' },
  RNN: { 1: 'weight', 2: 'weight', 3: 'bias' },
  BatchNormalization: { 1: 'scale', 2: 'bias' },
  InstanceNormalization: { 1: 'scale', 2: 'bias' },
  GroupNormalization: { 1: 'scale', 2: 'bias' },
  LayerNormalization: { 1: 'scale', 2: 'bias' },
  RMSNormalization: { 1: 'scale' },
  SimplifiedLayerNormalization: { 1: 'scale' },
  PRelu: { 1: 'scale' },
};
/** Operands of arithmetic: one number alone is a literal (a half, an epsilon), more are parameters (biases, embeddings of positions). */
const arithmetic: Readonly<Record<string, ParameterRole>> = { Add: 'bias', Sub: 'bias', Mul: 'scale', Div: 'scale' };
/** What carries a constant to its reader unchanged: exporters put these before a weight. */
const carriers: ReadonlySet<string> = new Set([
  'Identity',
  'Transpose',
  'Reshape',
  'Squeeze',
  'Unsqueeze',
  'Flatten',
  'Concat',
  'Slice',
  'Split',
]);

/** The role of a float32 constant for its readers; undefined when it is no parameter. */
function roleOf(value: Value, tensor: Tensor): ParameterRole | undefined {
  for (const { node, index } of value.uses) {
    const role = roleInNode(node, index, tensor);
    if (role) return role;
  }
  return undefined;
}

function roleInNode(node: Node, index: number, tensor: Tensor): ParameterRole | undefined {
  if (node.domain !== '') return undefined;
  const named = Object.hasOwn(roles, node.opType) ? roles[node.opType]?.[index] : undefined;
  if (named) return named;
  if (Object.hasOwn(arithmetic, node.opType)) return elementCount(tensor.dims) > 1 ? arithmetic[node.opType] : undefined;
  if (!carriers.has(node.opType)) return undefined;
  for (const output of node.outputs) {
    const role = output && roleOf(output, tensor);
    if (role) return role;
  }
  return undefined;
}

export interface ParameterConstant {
  readonly value: Value;
  readonly graph: Graph;
  readonly tensor: Tensor;
  readonly role: ParameterRole;
}

/** The parameters of `graph` and of the graphs below it, in the order of the file; those named in `also` whatever reads them. */
export function parametersOf(graph: Graph, also: ReadonlySet<string> = new Set()): ParameterConstant[] {
  return [...graphsWithin(graph)].flatMap((each) =>
    [...each.initializers].flatMap(([value, tensor]) => {
      if (tensor.dataType !== 'float32' || elementCount(tensor.dims) === 0) return [];
      const role = roleOf(value, tensor) ?? (also.has(value.name) ? 'scale' : undefined);
      return role ? [{ value, graph: each, tensor, role }] : [];
    }),
  );
}
