/** Writes weights into the graph as codes and scales that the runtime turns back into float constants when it loads the model. */
import { type Attribute, attributeOf, elementCount, type Graph, type Node, type Tensor, tensorOf, type Value } from '../../ir/index.js';
import { type ChannelLayout, channelDepth, fromRows, scaleDims, toRows } from '../../layers/channel-layout.js';
import { SharedConstants } from '../../layers/shared-constants.js';
import type { Constant, WeightStore } from '../../layers/weight-store.js';
import { type PackedBits, packCodes, unpackingMatrices, wordOf } from './packed-codes.js';

export type StoredBits = PackedBits | 8;

export interface StoredCodes {
  readonly bits: StoredBits;
  /** In the order of the weight. */
  readonly codes: Int8Array;
  /** One per output channel. */
  readonly scales: Float32Array;
  readonly layout: ChannelLayout;
  /** Through int8 and DequantizeLinear, which the runtime fuses with an integer reader. Operator set 13, one scale per index of one axis. */
  readonly asIntegers?: boolean;
}

/** ONNX TensorProto.DataType of float32, as Cast takes it. */
const FLOAT32 = 1;
const INT8 = 3;
const OPSET_OF_SPLIT_INPUT = 13;
/** Codes that are unpacked together: the runtime does not fold a constant that is too large (ort-session.ts). */
const BUNDLE_CODES_MAX = 4_000_000;

/** Packed weights of one graph with codes of one size: one tensor, unpacked at once. */
interface Bundle {
  readonly graph: Graph;
  readonly bits: PackedBits;
  readonly parts: { readonly codes: Int8Array; readonly value: Value }[];
  count: number;
}

/**
 * Collects the codes of any number of weights. Every operator that is written exists in all operator sets from 7 on and
 * reads constants only, so the runtime folds it when it loads the model; the readers of a weight see a constant as before.
 */
export class StoredWeights {
  private readonly bundles: Bundle[] = [];
  private readonly shared: SharedConstants;

  constructor(
    private readonly store: WeightStore,
    private readonly opset: number,
  ) {
    this.shared = new SharedConstants(store);
  }

  /** The constant becomes scale * code. `finish` completes the graph. Returns the bytes stored, scales included. */
  write(constant: Constant, stored: StoredCodes): number {
    const { bits, codes, scales, layout } = stored;
    const { dims } = constant.tensor;
    if (stored.asIntegers) return this.writeIntegers(constant, stored);
    const direct = scaleDims(layout, dims);
    const wide = direct ? dims : [layout.outer, layout.before, layout.inner, layout.behind];
    const scale = this.store.add(constant, '_scale', tensorOf('float32', direct ?? [layout.outer, 1, layout.inner, 1], scales)).value;
    const chain = new Chain(this.store);
    const { graph } = constant;
    const held = bits === 8 ? this.store.add(constant, '_int8', tensorOf('int8', wide, codes)).value : this.pack({ graph, bits, codes });
    this.store.computeAtLoad(constant, (value) => {
      const floats =
        bits === 8
          ? chain.add('Cast', [held], { to: attributeOf.int(FLOAT32) })
          : chain.add('Reshape', [held, this.shared.integers(graph, wide)]);
      if (direct) chain.add('Mul', [floats, scale], {}, value);
      else chain.add('Reshape', [chain.add('Mul', [floats, scale]), this.shared.integers(graph, dims)], {}, value);
      return chain.nodes;
    });
    return Math.ceil((codes.length * bits) / 8) + scales.byteLength;
  }

  /** Scales are written without their signs, which turn the codes around: kernels take what they multiply with as positive. */
  private writeIntegers(constant: Constant, { bits, codes, scales, layout }: StoredCodes): number {
    const { graph } = constant;
    const { dims } = constant.tensor;
    const spread = scaleDims(layout, dims);
    if (!spread) throw new RangeError(`StoredWeights: "${constant.value.name}" has no axis of scales`);
    const axis = Math.max(
      0,
      spread.findIndex((size) => size > 1),
    );
    const count = scales.length;
    const scale = this.store.add(constant, '_scale', tensorOf('float32', [count], scales.map(Math.abs))).value;
    const zeros = this.shared.once(graph, { key: `int8 zeros ${count}`, name: 'zeros' }, () =>
      tensorOf('int8', [count], new Int8Array(count)),
    );
    const signs = tensorOf('float32', spread, scales.map(Math.sign));
    const chain = new Chain(this.store);
    const held = bits === 8 ? undefined : this.pack({ graph, bits, codes });
    const whole = held ? undefined : this.store.add(constant, '_int8', tensorOf('int8', dims, turned(codes, scales, layout))).value;
    const sign = held && scales.some((each) => each < 0) ? this.store.add(constant, '_signs', signs).value : undefined;
    this.store.computeAtLoad(constant, (value) => {
      const integers = whole ?? this.asInt8(chain, held as Value, { sign, sizes: this.shared.integers(graph, dims) });
      chain.add('DequantizeLinear', [integers, scale, zeros], { axis: attributeOf.int(axis) }, value);
      return chain.nodes;
    });
    return Math.ceil((codes.length * bits) / 8) + scales.byteLength;
  }

  private asInt8(chain: Chain, floats: Value, { sign, sizes }: { sign: Value | undefined; sizes: Value }): Value {
    const shaped = chain.add('Reshape', [floats, sizes]);
    return chain.add('Cast', [sign ? chain.add('Mul', [shaped, sign]) : shaped], { to: attributeOf.int(INT8) });
  }

  /** The value that the codes will have as floats, in a bundle that is still to be written. */
  private pack({ graph, bits, codes }: { graph: Graph; bits: PackedBits; codes: Int8Array }): Value {
    const fits = (bundle: Bundle): boolean =>
      bundle.graph === graph && bundle.bits === bits && bundle.count + codes.length <= BUNDLE_CODES_MAX;
    let bundle = this.bundles.find(fits);
    if (!bundle) {
      bundle = { graph, bits, parts: [], count: 0 };
      this.bundles.push(bundle);
    }
    const value = this.store.newValue('codes');
    bundle.parts.push({ codes, value });
    bundle.count += codes.length;
    return value;
  }

  /** Writes the packed codes and what unpacks them. */
  finish(): void {
    for (const bundle of this.bundles.splice(0)) this.store.insertFirst(bundle.graph, ...this.unpacking(bundle));
  }

  private unpacking({ graph, bits, parts, count }: Bundle): Node[] {
    const word = wordOf(bits);
    const { shifts, fields, offset } = unpackingMatrices(bits);
    const chain = new Chain(this.store);
    const floats = (name: string, dims: readonly number[], values: Float32Array): Value =>
      this.shared.once(graph, { key: `${name} ${bits}`, name }, () => tensorOf('float32', dims, values));
    const packed = this.store.declare(graph, `int${bits}`, packedTensor(parts, { bits, count }));
    const bytes = chain.add('Cast', [packed.value], { to: attributeOf.int(FLOAT32) });
    const shifted = chain.add('MatMul', [bytes, floats('shifts', [word.bytes, word.codes], shifts)]);
    const constants = [floats('fields', [word.codes, word.codes], fields), floats('offset', [1], Float32Array.of(offset))];
    const words = chain.add('Gemm', [chain.add('Floor', [shifted]), ...constants]);
    const flat = chain.add('Reshape', [words, this.shared.integers(graph, [-1])]);
    const filling = (elementCount(packed.tensor.dims) / word.bytes) * word.codes - count;
    const sizes = [...parts.map(({ codes }) => codes.length), ...(filling > 0 ? [filling] : [])];
    const outputs = [...parts.map(({ value }) => value), ...(filling > 0 ? [this.store.newValue('codes')] : [])];
    if (this.opset < OPSET_OF_SPLIT_INPUT) chain.split([flat], outputs, { axis: attributeOf.int(0), split: attributeOf.ints(sizes) });
    else chain.split([flat, this.shared.integers(graph, sizes)], outputs, { axis: attributeOf.int(0) });
    return chain.nodes;
  }
}

/** Codes for scales of the same size that are all positive. */
function turned(codes: Int8Array, scales: Float32Array, layout: ChannelLayout): Int8Array {
  const depth = channelDepth(layout);
  const rows = toRows(codes, layout).map((code, at) => code * Math.sign(scales[Math.floor(at / depth)] ?? 1));
  return fromRows(rows, layout, Int8Array);
}

function packedTensor(parts: Bundle['parts'], { bits, count }: { bits: PackedBits; count: number }): Tensor {
  const codes = new Int8Array(count);
  let at = 0;
  for (const part of parts) {
    codes.set(part.codes, at);
    at += part.codes.length;
  }
  const packed = packCodes(codes, bits);
  const { bytes } = wordOf(bits);
  return tensorOf('uint8', [packed.length / bytes, bytes], packed);
}

/** Nodes in a row. Their names are short: beside a small weight, they are what the file consists of. */
class Chain {
  readonly nodes: Node[] = [];

  constructor(private readonly store: WeightStore) {}

  add(
    opType: string,
    inputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>> = {},
    output = this.store.newValue('widen'),
  ): Value {
    this.nodes.push(this.store.newNode({ opType, inputs, outputs: [output], attributes }, 'widen'));
    return output;
  }

  split(inputs: readonly Value[], outputs: readonly Value[], attributes: Readonly<Record<string, Attribute>>): void {
    this.nodes.push(this.store.newNode({ opType: 'Split', inputs, outputs, attributes }, 'widen'));
  }
}
