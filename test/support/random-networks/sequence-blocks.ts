/** Blocks that read a sequence [n, T, F] or a vector [n, F]. */
import { attributeOf, int64Tensor } from '../../../services/engine/ir/index.js';
import type { Block } from './image-blocks.js';
import { BATCH, type NetworkWriter, type Signal } from './network-writer.js';

const lengthAndWidth = ({ dims }: Signal): [number, number] => [dims[0] ?? 1, dims[1] ?? 1];

/** x W (+ b) over the last axis. */
function linear(writer: NetworkWriter, input: string, [from, to]: readonly [number, number]): string {
  const product = writer.node('MatMul', [input, writer.weights([from, to], 1 / Math.sqrt(from))]);
  if (writer.chance(0.3)) return product;
  const bias = writer.weights([to]);
  return writer.node('Add', writer.chance(0.5) ? [product, bias] : [bias, product]);
}

function residual(writer: NetworkWriter, input: Signal, branch: string): Signal {
  return writer.add('sequence', writer.node('Add', [input.name, branch]), input.dims);
}

/** Queries, keys and values from one product, or from three. */
function projections(writer: NetworkWriter, input: Signal, [width, inner]: readonly [number, number]): string[] {
  if (writer.chance(0.6)) return [0, 1, 2].map(() => linear(writer, input.name, [width, inner]));
  const packed = linear(writer, input.name, [width, 3 * inner]);
  const sizes = writer.opset < 13 ? [] : [writer.integers(inner, inner, inner)];
  return writer.nodeWith('Split', [packed, ...sizes], { attributes: { axis: attributeOf.int(2) }, outputs: 3 });
}

/** [n, T, heads size] to [n, heads, T, size], the shape given by constants or put together from sizes of the input. */
function toHeads(writer: NetworkWriter, value: string, { length, heads, size, like }: HeadShape): string {
  if (writer.chance(0.5)) return writer.transpose(writer.reshape(value, [0, writer.pick([0, length, -1]), heads, size]), [0, 2, 1, 3]);
  const shape = writer.node('Shape', [like]);
  const parts = [0, 1].map((axis) =>
    writer.withAxes('Unsqueeze', writer.node('Gather', [shape, writer.constant(int64Tensor([], [axis]))]), [0]),
  );
  const target = writer.node('Concat', [...parts, writer.integers(heads), writer.integers(size)], { axis: attributeOf.int(0) });
  return writer.transpose(writer.node('Reshape', [value, target]), [0, 2, 1, 3]);
}

interface HeadShape {
  readonly length: number;
  readonly heads: number;
  readonly size: number;
  /** A value with the batch and the length in front. */
  readonly like: string;
}

/** Turns pairs i, i + size / 2 of the last axis by constant angles. */
function rotated(writer: NetworkWriter, value: string, [length, size]: readonly [number, number]): string {
  const half = size / 2;
  const [cosine, sine] = [writer.weights([length, size]), writer.weights([length, size])];
  const cut = (start: number, end: number): string =>
    writer.node('Slice', [value, ...[start, end, 3].map((each) => writer.integers(each))]);
  const turned = writer.node('Concat', [writer.node('Neg', [cut(half, size)]), cut(0, half)], { axis: attributeOf.int(3) });
  return writer.node('Add', [writer.node('Mul', [value, cosine]), writer.node('Mul', [turned, sine])]);
}

function attention(writer: NetworkWriter, input: Signal): Signal {
  const [length, width] = lengthAndWidth(input);
  const [heads, size] = [writer.between(2, 4), 2 * writer.between(1, 2)];
  const inner = heads * size;
  const shape = { length, heads, size, like: input.name };
  let [query = '', key = '', value = ''] = projections(writer, input, [width, inner]).map((each) => toHeads(writer, each, shape));
  if (writer.chance(0.3)) [query, key] = [rotated(writer, query, [length, size]), rotated(writer, key, [length, size])];
  const scores = writer.node('MatMul', [query, writer.transpose(key, [0, 1, 3, 2])]);
  const weights = writer.node('Softmax', [writer.node('Mul', [scores, writer.scalar(1 / Math.sqrt(size))])], { axis: attributeOf.int(3) });
  value = writer.node('MatMul', [weights, value]);
  const joined = writer.reshape(writer.transpose(value, [0, 2, 1, 3]), [0, length, inner]);
  return residual(writer, input, linear(writer, joined, [inner, width]));
}

/** Each key-value head serves two query heads: Unsqueeze, Expand, Reshape. */
function groupedQueries(writer: NetworkWriter, input: Signal): Signal {
  const [length, width] = lengthAndWidth(input);
  const [pairs, each, size] = [writer.between(2, 3), 2, 2];
  const query = toHeads(writer, linear(writer, input.name, [width, pairs * each * size]), {
    length,
    heads: pairs * each,
    size,
    like: input.name,
  });
  const [key = '', value = ''] = [0, 1].map(() => {
    const own = toHeads(writer, linear(writer, input.name, [width, pairs * size]), { length, heads: pairs, size, like: input.name });
    const wide = writer.node('Expand', [writer.withAxes('Unsqueeze', own, [2]), writer.integers(1, pairs, each, length, size)]);
    return writer.reshape(wide, [0, pairs * each, length, size]);
  });
  const weights = writer.node('Softmax', [writer.node('MatMul', [query, writer.transpose(key, [0, 1, 3, 2])])], {
    axis: attributeOf.int(3),
  });
  const joined = writer.reshape(writer.transpose(writer.node('MatMul', [weights, value]), [0, 2, 1, 3]), [0, 0, pairs * each * size]);
  return residual(writer, input, linear(writer, joined, [pairs * each * size, width]));
}

function fusedAttention(writer: NetworkWriter, input: Signal): Signal {
  const [, width] = lengthAndWidth(input);
  const [heads, size] = [writer.between(2, 4), 8];
  const inner = heads * size;
  const attributes = { num_heads: attributeOf.int(heads) };
  if (writer.chance(0.5)) {
    const bias = writer.chance(0.5) ? [writer.weights([3 * inner])] : [];
    const parts = [0, 1, 2].map(() => writer.node('MatMul', [input.name, writer.weights([width, inner], 0.5)]));
    return residual(
      writer,
      input,
      linear(writer, writer.node('MultiHeadAttention', [...parts, ...bias], attributes, 'com.microsoft'), [inner, width]),
    );
  }
  const weight = writer.weights([width, 3 * inner], 0.5);
  const sizes = { ...attributes, qkv_hidden_sizes: attributeOf.ints([inner, inner, inner]) };
  const joined = writer.node('Attention', [input.name, weight, writer.weights([3 * inner])], sizes, 'com.microsoft');
  return residual(writer, input, linear(writer, joined, [inner, width]));
}

const gatesOf: Readonly<Record<string, number>> = { LSTM: 4, GRU: 3, RNN: 1 };

function recurrent(opType: 'LSTM' | 'GRU' | 'RNN'): Block {
  return (writer, input) => {
    const [length, width] = lengthAndWidth(input);
    const [hidden, gates] = [writer.between(2, 5), gatesOf[opType] ?? 1];
    const directions = writer.pick([1, 2]);
    const weights = [writer.weights([directions, gates * hidden, width]), writer.weights([directions, gates * hidden, hidden])];
    const bias = writer.chance(0.6) ? writer.weights([directions, 2 * gates * hidden]) : '';
    const state = initialState(writer, input, [directions, hidden]);
    const cells = opType === 'LSTM' ? [state, writer.chance(0.5) ? writer.weights([directions, 3 * hidden]) : ''] : [];
    const [all = '', last = ''] = writer.nodeWith(
      opType,
      [writer.transpose(input.name, [1, 0, 2]), ...weights, bias, '', state, ...cells],
      {
        attributes: {
          hidden_size: attributeOf.int(hidden),
          direction: attributeOf.string(directions === 2 ? 'bidirectional' : 'forward'),
          ...(opType === 'GRU' ? { linear_before_reset: attributeOf.int(writer.between(0, 1)) } : {}),
        },
        outputs: 2,
      },
    );
    const features = directions * hidden;
    const ordered = writer.transpose(last, [1, 0, 2]);
    writer.add('vector', writer.reshape(ordered, [0, features]), [features]);
    return writer.add('sequence', writer.reshape(writer.transpose(all, [2, 0, 1, 3]), [0, length, features]), [length, features]);
  };
}

/** None, a constant, or zeros of a shape that is put together from the batch. */
function initialState(writer: NetworkWriter, input: Signal, [directions, hidden]: readonly [number, number]): string {
  const kind = writer.between(0, 2);
  if (kind === 0) return '';
  if (kind === 1) return writer.weights([directions, BATCH, hidden]);
  const batch = writer.node('Gather', [writer.node('Shape', [input.name]), writer.integers(0)]);
  const shape = writer.node('Concat', [writer.integers(directions), batch, writer.integers(hidden)], { axis: attributeOf.int(0) });
  return writer.chance(0.5) ? writer.node('ConstantOfShape', [shape]) : writer.node('Expand', [writer.scalar(0.5), shape]);
}

function feedForward(writer: NetworkWriter, input: Signal): Signal {
  const [, width] = lengthAndWidth(input);
  const inner = writer.between(3, 8);
  const wide = writer.node(writer.pick(['Relu', 'Tanh', 'Erf']), [linear(writer, input.name, [width, inner])]);
  return residual(writer, input, linear(writer, wide, [inner, width]));
}

function gatedLinear(writer: NetworkWriter, input: Signal): Signal {
  const [length, width] = lengthAndWidth(input);
  const inner = writer.between(2, 5);
  const [left = '', right = ''] = writer.nodeWith('Split', [linear(writer, input.name, [width, 2 * inner])], {
    attributes: { axis: attributeOf.int(-1) },
    outputs: 2,
  });
  return writer.add('sequence', writer.node('Mul', [left, writer.node('Sigmoid', [right])]), [length, inner]);
}

function mixedTokens(writer: NetworkWriter, input: Signal): Signal {
  const [length, width] = lengthAndWidth(input);
  const inner = writer.between(2, 6);
  const turned = linear(writer, writer.transpose(input.name, [0, 2, 1]), [length, inner]);
  return writer.add('sequence', writer.transpose(turned, [0, 2, 1]), [inner, width]);
}

export const sequenceBlocks: Readonly<Record<string, Block>> = {
  linear: (writer, input) => {
    const [length, width] = lengthAndWidth(input);
    const to = writer.between(3, 8);
    return writer.add('sequence', linear(writer, input.name, [width, to]), [length, to]);
  },
  attention,
  'grouped queries': groupedQueries,
  'fused attention': fusedAttention,
  lstm: recurrent('LSTM'),
  gru: recurrent('GRU'),
  rnn: recurrent('RNN'),
  'feed forward': feedForward,
  'gated linear unit': gatedLinear,
  'token mixing': mixedTokens,
  'layer normalization': (writer, input) => {
    const [length, width] = lengthAndWidth(input);
    const mean = writer.node('Sub', [input.name, writer.node('ReduceMean', [input.name], { axes: attributeOf.ints([2]) })]);
    const variance = writer.node('ReduceMean', [writer.node('Mul', [mean, mean])], { axes: attributeOf.ints([2]) });
    const deviation = writer.node('Sqrt', [writer.node('Add', [variance, writer.scalar(1e-2)])]);
    const scaled = writer.node('Mul', [writer.node('Div', [mean, deviation]), writer.weights([width])]);
    return writer.add('sequence', writer.node('Add', [scaled, writer.weights([width])]), [length, width]);
  },
  'last step': (writer, input) => {
    const [, width] = lengthAndWidth(input);
    return writer.add('vector', writer.node('Gather', [input.name, writer.constant(int64Tensor([], [-1]))], { axis: attributeOf.int(1) }), [
      width,
    ]);
  },
  'flattened sequence': (writer, input) => {
    const [length, width] = lengthAndWidth(input);
    return writer.add('vector', writer.node('Flatten', [input.name]), [length * width]);
  },
};

export const vectorBlocks: Readonly<Record<string, Block>> = {
  gemm: (writer, input) => {
    const [width = 1] = input.dims;
    const to = writer.between(3, 8);
    const isTransposed = writer.chance(0.5);
    const weight = writer.weights(isTransposed ? [to, width] : [width, to], 1 / Math.sqrt(width));
    const bias = writer.chance(0.7) ? [writer.weights(writer.pick([[to], [1, to], [1]]))] : [];
    const name = writer.node('Gemm', [input.name, weight, ...bias], {
      transB: attributeOf.int(isTransposed ? 1 : 0),
      alpha: attributeOf.float(0.5),
    });
    return writer.add('vector', name, [to]);
  },
  'vector activation': (writer, input) => writer.add('vector', writer.node('Relu', [input.name]), input.dims),
  'vector concat': (writer, input) => {
    const other = writer.choose('vector') ?? input;
    const width = (input.dims[0] ?? 1) + (other.dims[0] ?? 1);
    return writer.add('vector', writer.node('Concat', [input.name, other.name], { axis: attributeOf.int(1) }), [width]);
  },
  normalize: (writer, input) =>
    writer.add('vector', writer.node('LpNormalization', [input.name], { axis: attributeOf.int(1) }), input.dims),
};
