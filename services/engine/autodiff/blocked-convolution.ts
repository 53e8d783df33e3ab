/** Convolutions with weights that change, on the blocked kernels that the runtime keeps for constant weights. */
import {
  type Attribute,
  attributeOf,
  GraphWriter,
  intAttribute,
  type Model,
  type NameAuthority,
  type Node,
  stringAttribute,
  type Value,
} from '../ir/index.js';

/**
 * The runtime moves a convolution into its blocked layout [N, C / b, H, W, b] only when the weight is a constant: it reorders that
 * when it loads the model. With the reordering written into the graph, trained weights get the same kernels. Forward 3x3 in
 * GFLOP/s, plain and blocked with both reorderings (Xeon AVX512-VNNI, 2 threads, b = 16): 64 -> 64 of 24x24, N 16: 94 and 311;
 * 32 -> 32 of 16x16, N 64: 35 and 244; 16 -> 16 of 32x32, N 64: 73 and 99.
 */
export function blockConvolutions(model: Model, names: NameAuthority, block: number): void {
  const { graph } = model;
  const write = new GraphWriter(model, names, graph, 'blocked');
  const pass = new Blocking(write, block);
  const order: Node[] = [];
  const replaced: Node[] = [];
  for (const node of [...graph.nodes]) {
    const sizes = blockable(node, block);
    if (replaced.includes(node)) continue;
    if (!sizes) {
      order.push(node);
      continue;
    }
    const start = graph.nodes.length;
    replaced.push(...pass.convolution(node, sizes));
    order.push(...graph.nodes.slice(start));
  }
  graph.remove(replaced);
  graph.reorder(order);
}

interface Sizes {
  readonly outputs: number;
  readonly channels: number;
  readonly kernel: readonly number[];
}

interface Interleaving {
  readonly node: Node;
  readonly stride: number;
  /** Of its output. */
  readonly dims: readonly number[];
}

/** Fewer outputs than half a block waste more than the kernels gain. */
const FILLED = 0.5;
/** ReorderInput moves channels in fours. */
const CHANNELS_STEP = 4;

function blockable(node: Node, block: number): Sizes | null {
  const [, weight] = node.inputs;
  if (node.opType !== 'Conv' || node.domain !== '' || !weight) return null;
  const shape = weight.type?.kind === 'tensor' ? weight.type.shape : null;
  if (shape?.length !== 4 || shape.some((size) => typeof size !== 'number')) return null;
  const [outputs = 0, channels = 0, ...kernel] = shape as readonly number[];
  const group = intAttribute(node, 'group', 1);
  if (group > 1 && (channels % block !== 0 || (outputs / group) % block !== 0)) return null;
  if (outputs < FILLED * block || (channels >= block && channels % CHANNELS_STEP !== 0)) return null;
  return { outputs, channels, kernel };
}

/** Activations that the kernel applies on its way out. */
const FUSED = new Set(['Relu', 'Tanh', 'Sigmoid']);

class Blocking {
  /** The blocked twin of a value. */
  private readonly twins = new Map<Value, Value>();

  constructor(
    private readonly write: GraphWriter,
    private readonly block: number,
  ) {}

  /** Writes the blocked form of `node`; returns the nodes that it stands for: the convolution, and an activation behind it. */
  convolution(node: Node, sizes: Sizes): Node[] {
    const { write, block } = this;
    const [x, weight, bias] = node.inputs as readonly (Value | null | undefined)[];
    const padded = roundUp(sizes.outputs, block);
    const inputs = [this.input(x as Value, sizes), this.filter(weight as Value, sizes)];
    if (bias) inputs.push(pad(write, bias, [padded - sizes.outputs]));
    const activation = this.activationBehind(node);
    const attributes: Record<string, Attribute> = Object.fromEntries(node.attributes);
    attributes.kernel_shape ??= attributeOf.ints(sizes.kernel);
    if (activation) attributes.activation = attributeOf.string(activation.opType);
    const y = write.microsoft('Conv', inputs, attributes, BLOCKED_DOMAIN);
    const interleaving = this.interleavingBehind(node, sizes);
    if (interleaving) {
      this.interleave(y, interleaving);
      return [node, interleaving.node];
    }
    const plain = write.microsoft('ReorderOutput', [y], { channels: attributeOf.int(sizes.outputs) }, BLOCKED_DOMAIN);
    const last = activation ?? node;
    const output = last.outputs[0] as Value;
    const producer = plain.producer as Node;
    last.setOutput(0, null);
    producer.setOutput(0, output);
    if (padded === sizes.outputs) this.twins.set(output, y);
    return activation ? [node, activation] : [node];
  }

  /** DepthToSpace whose sizes are known, of whole blocks of channels. */
  private interleavingBehind(node: Node, { outputs }: Sizes): Interleaving | null {
    const reader = this.onlyReader(node);
    if (reader?.opType !== 'DepthToSpace' || stringAttribute(reader, 'mode', 'DCR') !== 'DCR') return null;
    const type = reader.outputs[0]?.type;
    const stride = intAttribute(reader, 'blocksize', 1);
    const sizes = type?.kind === 'tensor' && type.shape?.length === 4 ? type.shape : [];
    if (sizes.length !== 4 || sizes.some((size) => typeof size !== 'number') || outputs % (stride * stride * this.block) !== 0) return null;
    return { node: reader, stride, dims: sizes as readonly number[] };
  }

  /**
   * Blocks of channels move whole, where DepthToSpace moves single numbers: 64 phases of 16x16 to 16 channels of 32x32, N 64,
   * 2.1 and .8 ms (Xeon AVX512-VNNI).
   */
  private interleave(y: Value, { node, stride, dims }: Interleaving): void {
    const { write, block } = this;
    const [batch = 1, channels = 1, height = 1, width = 1] = dims;
    const split = [batch, stride, stride, channels / block, height / stride, width / stride, block];
    const moved = write.node('Transpose', [write.node('Reshape', [y, write.ints(split)])], {
      perm: attributeOf.ints([0, 3, 4, 1, 5, 2, 6]),
    });
    const joined = write.node('Reshape', [moved, write.ints(dims)]);
    const plain = write.microsoft('ReorderOutput', [joined], { channels: attributeOf.int(channels) }, BLOCKED_DOMAIN);
    const output = node.outputs[0] as Value;
    node.setOutput(0, null);
    (plain.producer as Node).setOutput(0, output);
    this.twins.set(output, joined);
  }

  /** The node that alone reads what `node` makes. */
  private onlyReader(node: Node): Node | null {
    const y = node.outputs[0];
    const reader = y?.uses.length === 1 ? y.uses[0]?.node : undefined;
    const isHidden = y && !this.write.graph.isOutput(y);
    return reader && isHidden && reader.domain === '' && reader.graph === this.write.graph ? reader : null;
  }

  private activationBehind(node: Node): Node | null {
    const reader = this.onlyReader(node);
    return reader && FUSED.has(reader.opType) ? reader : null;
  }

  /** Fewer channels than a block are read as they lie. */
  private input(x: Value, { channels }: Sizes): Value {
    if (channels < this.block) return x;
    const twin = this.twins.get(x) ?? this.write.microsoft('ReorderInput', [x], {}, BLOCKED_DOMAIN);
    this.twins.set(x, twin);
    return twin;
  }

  /** [M, C, h, w] as [M / b, C / b, h, w, b of C, b of M], zeros filling the last blocks; [M / b, C, h, w, b] of few channels. */
  private filter(weight: Value, { outputs, channels, kernel }: Sizes): Value {
    const { write, block } = this;
    const blocks = Math.ceil(outputs / block);
    const isThin = channels < block;
    const inner = isThin ? channels : roundUp(channels, block);
    const whole = pad(write, weight, [blocks * block - outputs, inner - channels, 0, 0]);
    const split = isThin ? [blocks, block, channels, ...kernel] : [blocks, block, inner / block, block, ...kernel];
    const perm = isThin ? [0, 2, 3, 4, 1] : [0, 2, 4, 5, 3, 1];
    const moved = write.node('Transpose', [write.node('Reshape', [whole, write.ints(split)])], { perm: attributeOf.ints(perm) });
    return write.node('Reshape', [moved, write.ints([blocks * block, inner, ...kernel])]);
  }
}

const BLOCKED_DOMAIN = 'com.microsoft.nchwc';

const roundUp = (size: number, step: number): number => Math.ceil(size / step) * step;

/** Zeros behind each axis. */
function pad(write: GraphWriter, value: Value, end: readonly number[]): Value {
  if (end.every((size) => size === 0)) return value;
  return write.node('Pad', [value, write.ints([...end.map(() => 0), ...end])]);
}
