/** Blocks that read an image [n, C, H, W] and make another one. */
import { attributeOf, float32Tensor } from '../../../services/engine/ir/index.js';
import type { NetworkWriter, Signal } from './network-writer.js';

export type Block = (writer: NetworkWriter, input: Signal) => Signal | null;

const sizeOf = ({ dims }: Signal): [number, number, number] => [dims[0] ?? 1, dims[1] ?? 1, dims[2] ?? 1];

interface ConvOptions {
  readonly kernel?: number;
  readonly group?: number;
  readonly stride?: number;
}

/** "Same" padding for odd kernels. */
export function conv(
  writer: NetworkWriter,
  input: Signal,
  outputs: number,
  { kernel = 1, group = 1, stride = 1 }: ConvOptions = {},
): Signal {
  const [channels, height, width] = sizeOf(input);
  const pad = (kernel - 1) / 2;
  const weight = writer.weights([outputs, channels / group, kernel, kernel], 1 / Math.sqrt((channels / group) * kernel * kernel));
  const bias = writer.chance(0.7) ? [writer.weights([outputs])] : [];
  const name = writer.node('Conv', [input.name, weight, ...bias], {
    group: attributeOf.int(group),
    kernel_shape: attributeOf.ints([kernel, kernel]),
    pads: attributeOf.ints([pad, pad, pad, pad]),
    strides: attributeOf.ints([stride, stride]),
  });
  return writer.add('image', name, [outputs, Math.ceil(height / stride), Math.ceil(width / stride)]);
}

const activations = ['Relu', 'Sigmoid', 'Tanh', 'LeakyRelu', 'Softplus', 'HardSigmoid', 'Abs'];

function same(writer: NetworkWriter, { kind, dims }: Signal, name: string): Signal {
  return writer.add(kind, name, dims);
}

const divisors = (value: number): number[] =>
  Array.from({ length: value }, (_, at) => at + 1).filter((each) => value % each === 0 && each > 1);

function scaled(writer: NetworkWriter, input: Signal): Signal {
  const [channels] = sizeOf(input);
  const kind = writer.pick(['Mul', 'Add', 'Sub', 'Div']);
  const dims = writer.pick([[channels, 1, 1], [1, channels, 1, 1], [], [1]]);
  const constant = kind === 'Div' ? writer.positive(dims) : writer.weights(dims);
  const isFirst = kind !== 'Div' && writer.chance(0.3);
  return same(writer, input, writer.node(kind, isFirst ? [constant, input.name] : [input.name, constant]));
}

/** Another image of these sizes, or a convolution of this one. */
function partner(writer: NetworkWriter, input: Signal): Signal {
  const twins = writer.signals.filter(
    ({ name, kind, dims }) => kind === 'image' && name !== input.name && dims.join() === input.dims.join(),
  );
  return twins.length > 0 ? writer.pick(twins) : conv(writer, input, sizeOf(input)[0], { kernel: 3 });
}

function gate(writer: NetworkWriter, input: Signal): Signal {
  const [channels] = sizeOf(input);
  const pooled = writer.add('image', writer.node('GlobalAveragePool', [input.name]), [channels, 1, 1]);
  const squeezed = conv(writer, pooled, writer.between(2, 5));
  const active = same(writer, squeezed, writer.node('Relu', [squeezed.name]));
  const excited = conv(writer, active, channels);
  return same(writer, input, writer.node('Mul', [input.name, writer.node('Sigmoid', [excited.name])]));
}

function shuffle(writer: NetworkWriter, input: Signal): Signal | null {
  const [channels, height, width] = sizeOf(input);
  const groups = divisors(channels).filter((each) => each < channels);
  if (groups.length === 0) return null;
  const group = writer.pick(groups);
  const split = writer.reshape(input.name, [0, group, channels / group, height, width]);
  const turned = writer.transpose(split, [0, 2, 1, 3, 4]);
  return same(writer, input, writer.reshape(turned, [0, channels, height, width]));
}

function splitAndJoin(writer: NetworkWriter, input: Signal): Signal | null {
  const [channels, height, width] = sizeOf(input);
  if (channels < 4) return null;
  const first = writer.between(1, channels - 1);
  const attributes = { axis: attributeOf.int(1), ...(writer.opset < 13 ? { split: attributeOf.ints([first, channels - first]) } : {}) };
  const sizes = writer.opset < 13 ? [] : [writer.integers(first, channels - first)];
  const [left = '', right = ''] = writer.nodeWith('Split', [input.name, ...sizes], { attributes, outputs: 2 });
  const a = writer.add('image', left, [first, height, width]);
  const b = writer.add('image', writer.node(writer.pick(activations), [right]), [channels - first, height, width]);
  const changed = writer.chance(0.5) ? conv(writer, a, writer.between(2, 6)) : a;
  return writer.add('image', writer.node('Concat', [b.name, changed.name], { axis: attributeOf.int(1) }), [
    sizeOf(b)[0] + sizeOf(changed)[0],
    height,
    width,
  ]);
}

function gated(writer: NetworkWriter, input: Signal): Signal | null {
  const [channels, height, width] = sizeOf(input);
  if (channels % 2 !== 0) return null;
  const [left = '', right = ''] = writer.nodeWith('Split', [input.name], { attributes: { axis: attributeOf.int(1) }, outputs: 2 });
  const name = writer.node('Mul', [left, writer.node('Sigmoid', [right])]);
  return writer.add('image', name, [channels / 2, height, width]);
}

function sliced(writer: NetworkWriter, input: Signal): Signal | null {
  const [channels, height, width] = sizeOf(input);
  const step = writer.pick([1, 1, 2, -1]);
  if (channels < 4) return null;
  const start = step < 0 ? channels - 1 - writer.between(0, 1) : writer.between(0, 2);
  const end = step < 0 ? -channels - 1 : writer.pick([channels, channels - 1, 2 ** 31 - 1]);
  const stop = step < 0 ? -1 : Math.min(end, channels);
  const count = Math.ceil((stop - start) / step);
  if (count < 2) return null;
  const bounds = [start, end, 1, step].map((value) => writer.integers(value));
  return writer.add('image', writer.node('Slice', [input.name, ...bounds]), [count, height, width]);
}

function gathered(writer: NetworkWriter, input: Signal): Signal {
  const [channels, height, width] = sizeOf(input);
  const order = Array.from({ length: channels }, (_, at) => at).sort(() => writer.random() - 0.5);
  const chosen = order.slice(0, writer.between(Math.min(2, channels), channels)).map((at) => (writer.chance(0.3) ? at - channels : at));
  return writer.add('image', writer.node('Gather', [input.name, writer.integers(...chosen)], { axis: attributeOf.int(1) }), [
    chosen.length,
    height,
    width,
  ]);
}

function convTranspose(writer: NetworkWriter, input: Signal): Signal {
  const [channels, height, width] = sizeOf(input);
  const group = writer.pick([1, ...divisors(channels)]);
  const perGroup = writer.between(1, 4);
  const weight = writer.weights([channels, perGroup, 2, 2], 1 / Math.sqrt((channels / group) * 4));
  const bias = writer.chance(0.5) ? [writer.weights([perGroup * group])] : [];
  const name = writer.node('ConvTranspose', [input.name, weight, ...bias], {
    group: attributeOf.int(group),
    strides: attributeOf.ints([2, 2]),
  });
  return writer.add('image', name, [perGroup * group, height * 2, width * 2]);
}

function grouped(writer: NetworkWriter, input: Signal): Signal | null {
  const [channels] = sizeOf(input);
  const groups = divisors(channels);
  if (groups.length === 0) return null;
  const group = writer.pick(groups);
  return conv(writer, input, group * writer.between(1, 3), { kernel: writer.pick([1, 3]), group });
}

function padded(writer: NetworkWriter, input: Signal): Signal {
  const [channels, height, width] = sizeOf(input);
  const more = writer.pick([0, 0, 2]);
  const pads = writer.integers(0, more, 1, 0, 0, 0, 1, 0);
  return writer.add('image', writer.node('Pad', [input.name, pads]), [channels + more, height + 2, width]);
}

function resized(writer: NetworkWriter, input: Signal): Signal {
  const [channels, height, width] = sizeOf(input);
  const target = [channels, height * 2, width * 2];
  // Operator set 12 does not let them out.
  const none = writer.constant(float32Tensor([0], []));
  const mode = { mode: attributeOf.string('nearest'), nearest_mode: attributeOf.string('floor') };
  const asymmetric = { ...mode, coordinate_transformation_mode: attributeOf.string('asymmetric') };
  if (writer.chance(0.5)) {
    const scales = writer.constant(float32Tensor([4], [1, 1, 2, 2]));
    return writer.add('image', writer.node('Resize', [input.name, none, scales], asymmetric), target);
  }
  const batch = writer.node('Gather', [writer.node('Shape', [input.name]), writer.integers(0)], { axis: attributeOf.int(0) });
  const sizes = writer.node('Concat', [batch, writer.integers(...target)], { axis: attributeOf.int(0) });
  return writer.add('image', writer.node('Resize', [input.name, none, none, sizes], asymmetric), target);
}

function toDepth(writer: NetworkWriter, input: Signal): Signal | null {
  const [channels, height, width] = sizeOf(input);
  if (height % 2 !== 0 || width % 2 !== 0) return null;
  return writer.add('image', writer.node('SpaceToDepth', [input.name], { blocksize: attributeOf.int(2) }), [
    channels * 4,
    height / 2,
    width / 2,
  ]);
}

function toSpace(writer: NetworkWriter, input: Signal): Signal {
  const [, height, width] = sizeOf(input);
  const wide = conv(writer, input, 4 * writer.between(2, 3));
  const mode = writer.pick(['DCR', 'CRD']);
  const name = writer.node('DepthToSpace', [wide.name], { blocksize: attributeOf.int(2), mode: attributeOf.string(mode) });
  return writer.add('image', name, [sizeOf(wide)[0] / 4, height * 2, width * 2]);
}

function normalized(writer: NetworkWriter, input: Signal): Signal {
  const [channels] = sizeOf(input);
  if (writer.chance(0.7)) {
    const inputs = [writer.weights([channels]), writer.weights([channels]), writer.weights([channels]), writer.positive([channels])];
    return same(writer, input, writer.node('BatchNormalization', [input.name, ...inputs]));
  }
  return same(writer, input, writer.node('InstanceNormalization', [input.name, writer.weights([channels]), writer.weights([channels])]));
}

/** As exported: [n, G, -1], InstanceNormalization, back, one scale and shift for each channel. */
function groupNormalized(writer: NetworkWriter, input: Signal): Signal | null {
  const [channels, height, width] = sizeOf(input);
  const groups = writer.pick([1, ...divisors(channels)]);
  const grouped = writer.reshape(input.name, [0, groups, -1]);
  const inputs = [writer.constant(float32Tensor([groups], new Float32Array(groups).fill(1))), writer.weights([groups], 0)];
  const back = writer.reshape(writer.node('InstanceNormalization', [grouped, ...inputs]), [0, channels, height, width]);
  const scaledBack = writer.node('Mul', [back, writer.weights([channels, 1, 1])]);
  return same(writer, input, writer.node('Add', [scaledBack, writer.weights([channels, 1, 1])]));
}

function pooled(writer: NetworkWriter, input: Signal): Signal | null {
  const [channels, height, width] = sizeOf(input);
  if (height < 2 || width < 2) return null;
  const name = writer.node(writer.pick(['MaxPool', 'AveragePool']), [input.name], {
    kernel_shape: attributeOf.ints([2, 2]),
    strides: attributeOf.ints([2, 2]),
  });
  return writer.add('image', name, [channels, Math.floor(height / 2), Math.floor(width / 2)]);
}

/** Attention over space by the sum of all channels. */
function spatialGate(writer: NetworkWriter, input: Signal): Signal {
  const summed = writer.withAxes('ReduceSum', input.name, [1], { keepdims: attributeOf.int(1) });
  return same(writer, input, writer.node('Mul', [input.name, writer.node('Sigmoid', [summed])]));
}

export const imageBlocks: Readonly<Record<string, Block>> = {
  convolution: (writer, input) =>
    conv(writer, input, writer.between(2, 8), { kernel: writer.pick([1, 3]), stride: sizeOf(input)[1] > 2 ? writer.pick([1, 1, 2]) : 1 }),
  'grouped convolution': grouped,
  'depthwise convolution': (writer, input) => {
    const [channels] = sizeOf(input);
    return conv(writer, input, channels * writer.pick([1, 1, 2]), { kernel: 3, group: channels });
  },
  'transposed convolution': convTranspose,
  activation: (writer, input) => same(writer, input, writer.node(writer.pick(activations), [input.name])),
  'parametric relu': (writer, input) => same(writer, input, writer.node('PRelu', [input.name, writer.weights([sizeOf(input)[0], 1, 1])])),
  'constant arithmetic': scaled,
  normalization: normalized,
  'group normalization': groupNormalized,
  residual: (writer, input) =>
    same(writer, input, writer.node(writer.pick(['Add', 'Add', 'Mul', 'Max']), [input.name, partner(writer, input).name])),
  'dense concat': (writer, input) => {
    const [channels, height, width] = sizeOf(input);
    const other = conv(writer, input, writer.between(2, 5));
    return writer.add('image', writer.node('Concat', [input.name, other.name], { axis: attributeOf.int(1) }), [
      channels + sizeOf(other)[0],
      height,
      width,
    ]);
  },
  'split and join': splitAndJoin,
  'gated halves': gated,
  slice: sliced,
  gather: gathered,
  'channel shuffle': shuffle,
  padding: padded,
  pooling: pooled,
  resize: resized,
  'depth to space': toSpace,
  'space to depth': toDepth,
  'squeeze and excitation': gate,
  'spatial gate': spatialGate,
};
