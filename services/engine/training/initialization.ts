/** Fresh weights for a network that is trained from the beginning. */
import { elementCount, float32Tensor, intAttribute, type Model, type Node, type Value } from '../ir/index.js';
import type { PseudoRandom } from '../runtime/pseudo-random.js';
import { type ParameterConstant, parametersOf } from './parameter-roles.js';
import { randomStream } from './random-stream.js';

/**
 * Weights uniform in +-1 / sqrt(fan-in), biases as the weight beside them, recurrent layers +-1 / sqrt(hidden size), embeddings
 * standard normal, scales 1, other shifts 0: what PyTorch's layers begin with (He et al. 2015 with a = sqrt 5). The same seed gives the
 * same weights. Edits the constants of `model`.
 */
export function initialize(model: Model, seed: number): void {
  for (const [at, parameter] of parametersOf(model.graph).entries()) {
    const count = elementCount(parameter.tensor.dims);
    const draw = drawing(parameter, randomStream(seed, at));
    parameter.graph.initializers.set(parameter.value, float32Tensor(parameter.tensor.dims, Float32Array.from({ length: count }, draw)));
  }
}

function drawing({ value, role, tensor }: ParameterConstant, random: PseudoRandom): () => number {
  const [use] = value.uses.filter(({ node }) => fanOf(node) !== undefined || node.opType === 'Gather');
  if (use?.node.opType === 'Gather') return () => random.normal();
  const fan = use && fanOf(use.node);
  if (fan !== undefined) return uniform(random, 1 / Math.sqrt(Math.max(1, fan)));
  if (role === 'scale') return () => 1;
  if (role === 'bias') return () => 0;
  return uniform(random, 1 / Math.sqrt(Math.max(1, elementCount(tensor.dims) / (tensor.dims[0] ?? 1))));
}

const uniform = (random: PseudoRandom, bound: number) => () => bound * (2 * random.uniform() - 1);

/** Products that one output of the node sums up. */
function fanOf(node: Node): number | undefined {
  const dims = (index: number): readonly number[] | undefined => dimsOf(node.inputs[index]);
  switch (node.opType) {
    case 'Conv':
      return product(dims(1)?.slice(1));
    case 'ConvTranspose':
      return product(dims(1)?.slice(1));
    case 'Gemm':
      return dims(1)?.[intAttribute(node, 'transB', 0) === 0 ? 0 : 1];
    case 'MatMul':
      return (dims(1) ?? dims(0))?.at(-2);
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return dims(2)?.at(-1);
    default:
      return undefined;
  }
}

const product = (dims: readonly number[] | undefined): number | undefined => dims?.reduce((total, size) => total * size, 1);

function dimsOf(value: Value | null | undefined): readonly number[] | undefined {
  const shape = value?.type?.kind === 'tensor' ? value.type.shape : null;
  return shape?.every((size) => typeof size === 'number') ? (shape as readonly number[]) : undefined;
}
