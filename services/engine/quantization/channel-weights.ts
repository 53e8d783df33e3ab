/** Linear layers with constant weights, seen as what they do per channel: how large the weights of a channel are, and scaling them. */
import { elementCount, float32Tensor, float32Values, intAttribute, type Node, type Value } from '../ir/index.js';
import { convLayer } from '../layers/conv-layers.js';
import { type DenseLayer, denseLayer } from '../layers/dense-layers.js';
import { allFinite } from '../layers/finite-values.js';
import type { Constant, WeightStore } from '../layers/weight-store.js';

export type ChannelSide = 'input' | 'output';

/** How a weight [rows, columns, taps] lies in memory. Conv and transposed matrices have outputs as rows, the others inputs. */
interface WeightLayout {
  readonly rows: number;
  readonly columns: number;
  /** Weights between one input and one output channel: the kernel of a convolution. */
  readonly taps: number;
  readonly group: number;
  readonly rowSide: ChannelSide;
}

export interface ScalableBias {
  readonly node: Node;
  readonly index: number;
  readonly constant: Constant;
}

/** A layer whose channels can be scaled: nothing else reads its weight. */
export class ChannelWeights {
  private readonly values: Float64Array;
  private biasValues: Float64Array | undefined;
  private isScaled = false;

  constructor(
    readonly node: Node,
    /** The value with the bias added. */
    readonly output: Value,
    private readonly weight: Constant,
    private readonly layout: WeightLayout,
    /** null: it has none; undefined: it cannot be scaled, so the outputs of the layer cannot either. */
    private readonly bias: ScalableBias | null | undefined,
    /** Where its channels are: axis 1 of images, or the last axis. */
    readonly channelAxis: 'second' | 'last',
  ) {
    this.values = Float64Array.from(float32Values(weight.tensor));
    if (bias) this.biasValues = Float64Array.from(float32Values(bias.constant.tensor));
  }

  get canScaleOutputs(): boolean {
    return this.bias !== undefined;
  }

  /** Each output channel reads the input channel of the same number, and no other. */
  get isDepthwise(): boolean {
    const { rows, columns, group, rowSide } = this.layout;
    return rowSide === 'output' && columns === 1 && group === rows;
  }

  channels(side: ChannelSide): number {
    const { rows, columns, group, rowSide } = this.layout;
    return side === rowSide ? rows : columns * group;
  }

  /** max |w| over the weights of each channel. */
  largest(side: ChannelSide): Float64Array {
    const largest = new Float64Array(this.channels(side));
    this.eachKernel(side, (channel, start, end) => {
      for (let at = start; at < end; at += 1) {
        const size = Math.abs(this.values[at] ?? 0);
        if (size > (largest[channel] ?? 0)) largest[channel] = size;
      }
    });
    return largest;
  }

  /** Multiplies the weights of each channel, and the bias of output channels. */
  scale(side: ChannelSide, factors: ArrayLike<number>): void {
    this.isScaled = true;
    this.eachKernel(side, (channel, start, end) => {
      const factor = factors[channel] ?? 1;
      for (let at = start; at < end; at += 1) this.values[at] = (this.values[at] ?? 0) * factor;
    });
    const { biasValues } = this;
    if (side === 'input' || !biasValues) return;
    const count = this.channels('output');
    this.biasValues = Float64Array.from(
      { length: count },
      (_, at) => (biasValues[biasValues.length === 1 ? 0 : at] ?? 0) * (factors[at] ?? 1),
    );
  }

  /** Puts the scaled weights in place of the stored ones, rounded once. */
  write(store: WeightStore): void {
    if (!this.isScaled) return;
    const [use] = this.weight.value.uses;
    if (use) replaceConstant(store, { ...use, constant: this.weight }, { dims: this.weight.tensor.dims, values: this.values });
    const { bias, biasValues } = this;
    if (!bias || !biasValues) return;
    const { dims } = bias.constant.tensor;
    const isSpread = elementCount(dims) !== biasValues.length;
    replaceConstant(store, bias, { dims: isSpread ? [biasValues.length] : dims, values: biasValues });
  }

  /** Channel of row r, column c: r on the side of the rows; on the other, columns are numbered within the group of the row. */
  private eachKernel(side: ChannelSide, visit: (channel: number, start: number, end: number) => void): void {
    const { rows, columns, taps, group, rowSide } = this.layout;
    const rowsPerGroup = rows / group;
    for (let row = 0, start = 0; row < rows; row += 1) {
      const first = Math.floor(row / rowsPerGroup) * columns;
      for (let column = 0; column < columns; column += 1, start += taps)
        visit(side === rowSide ? row : first + column, start, start + taps);
    }
  }
}

/** A float32 constant at input `index` of `node` becomes another one; the old one stays for other readers. */
export function replaceConstant(
  store: WeightStore,
  { node, index, constant }: ScalableBias,
  { dims, values }: { readonly dims: readonly number[]; readonly values: Float64Array },
): void {
  const made = store.add(constant, '_scaled', float32Tensor(dims, Float32Array.from(values)));
  node.setInput(index, made.value);
  store.dropIfUnread(constant);
}

/** The layer that `node` is, if its weight is a constant that only it reads. */
export function channelWeights(node: Node, store: WeightStore): ChannelWeights | undefined {
  if (node.domain !== '') return undefined;
  if (node.opType === 'MatMul' || node.opType === 'Gemm') return denseWeights(node, store);
  if (node.opType === 'Conv') return convWeights(node, store);
  return node.opType === 'ConvTranspose' ? convTransposeWeights(node, store) : undefined;
}

/** Also through the Transpose of a weight. */
function isOwn({ value }: Constant, reader: Node, store: WeightStore): boolean {
  const [use] = value.uses;
  if (!use || value.uses.length !== 1 || store.isGraphOutput(value)) return false;
  if (use.node === reader) return true;
  const [between] = use.node.outputs;
  return between?.uses.length === 1 && !store.isGraphOutput(between);
}

function denseWeights(node: Node, store: WeightStore): ChannelWeights | undefined {
  const layer = denseLayer(node, store);
  if ('reason' in layer || layer.integerObstacle?.includes('transA') || !isOwn(layer.weight, node, store)) return undefined;
  const { depth, channels, reductionAxis, weight, bias } = layer;
  const output = (bias?.add ?? node).outputs[0];
  if (!output) return undefined;
  const layout =
    reductionAxis === 1
      ? ({ rows: channels, columns: depth, taps: 1, group: 1, rowSide: 'output' } as const)
      : ({ rows: depth, columns: channels, taps: 1, group: 1, rowSide: 'input' } as const);
  return new ChannelWeights(node, output, weight, layout, denseBias(layer), 'last');
}

function denseBias({ node, bias, integerObstacle }: DenseLayer): ScalableBias | null | undefined {
  if (integerObstacle) return undefined;
  if (!bias) return null;
  if (!bias.vector || !allFinite(float32Values(bias.vector.tensor))) return undefined;
  const reader = bias.add ?? node;
  return { node: reader, index: reader.inputs.lastIndexOf(bias.value), constant: bias.vector };
}

function convWeights(node: Node, store: WeightStore): ChannelWeights | undefined {
  const layer = convLayer(node, store);
  const [output] = node.outputs;
  if ('reason' in layer || !output || !isOwn(layer.weight, node, store)) return undefined;
  const [rows = 1, columns = 1, ...kernel] = layer.weight.tensor.dims;
  const layout = { rows, columns, taps: elementCount(kernel), group: layer.group, rowSide: 'output' } as const;
  const bias = layer.bias ? { node, index: 2, constant: layer.bias } : null;
  return new ChannelWeights(node, output, layer.weight, layout, bias, 'second');
}

function convTransposeWeights(node: Node, store: WeightStore): ChannelWeights | undefined {
  const weight = store.constant(node.inputs[1]);
  const [output] = node.outputs;
  if (weight?.tensor.dataType !== 'float32' || !output || !isOwn(weight, node, store)) return undefined;
  const [rows = 0, columns = 0, ...kernel] = weight.tensor.dims;
  const taps = elementCount(kernel);
  if (rows * columns * taps === 0 || !allFinite(float32Values(weight.tensor))) return undefined;
  const given = node.inputs[2];
  const constant = store.constant(given);
  const bias = !given ? null : constant?.tensor.dataType === 'float32' ? { node, index: 2, constant } : undefined;
  const layout = { rows, columns, taps, group: intAttribute(node, 'group', 1), rowSide: 'input' } as const;
  return new ChannelWeights(node, output, weight, layout, bias, 'second');
}
