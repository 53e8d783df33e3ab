/** Writes a weight into the graph as codes and scales that the runtime turns back into a float constant when it loads the model. */
import { type Attribute, attributeOf, type Graph, int64Tensor, type Node, type Tensor, tensorOf, type Value } from '../../ir/index.js';
import type { Constant, WeightStore } from '../weight-store.js';
import { type ChannelLayout, scaleDims } from './channel-layout.js';
import { type PackedBits, packCodes, unpackingMatrices, wordOf } from './packed-codes.js';

export type StoredBits = PackedBits | 8;

export interface StoredCodes {
  readonly bits: StoredBits;
  /** In the order of the weight. */
  readonly codes: Int8Array;
  /** One per output channel. */
  readonly scales: Float32Array;
  readonly layout: ChannelLayout;
}

/** ONNX TensorProto.DataType of float32, as Cast takes it. */
const FLOAT32 = 1;
const OPSET_OF_SLICE_INPUTS = 10;

/** Writes the codes of any number of weights into one model; what the unpacking of all needs is in each graph once. */
export class StoredWeights {
  private readonly shared = new Map<Graph, Map<string, Value>>();

  constructor(
    private readonly store: WeightStore,
    private readonly opset: number,
  ) {}

  /**
   * The constant becomes scale * code, in operators of every operator set from 7 on. They read constants only, so that the
   * runtime folds them when it loads the model; the readers of the weight see a constant as before. Returns the bytes stored.
   */
  write(constant: Constant, { bits, codes, scales, layout }: StoredCodes): number {
    const { dims } = constant.tensor;
    const direct = scaleDims(layout, dims);
    const wide = direct ? dims : [layout.outer, layout.before, layout.inner, layout.behind];
    const stored = bits === 8 ? tensorOf('int8', wide, codes) : packedTensor(codes, bits);
    const scaleTensor = tensorOf('float32', direct ?? [layout.outer, 1, layout.inner, 1], scales);
    const packed = this.store.add(constant, `_int${bits}`, stored).value;
    const scale = this.store.add(constant, '_scale', scaleTensor).value;
    this.store.computeAtLoad(constant, (value) => {
      const chain = new Chain(this.store, constant.graph);
      const floats = chain.add('Cast', [packed], { to: attributeOf.int(FLOAT32) });
      const unpacked = bits === 8 ? floats : this.unpack(chain, floats, { bits, count: codes.length, dims: wide });
      if (direct) chain.add('Mul', [unpacked, scale], {}, value);
      else chain.add('Reshape', [chain.add('Mul', [unpacked, scale]), this.integers(chain.graph, dims)], {}, value);
      return chain.nodes;
    });
    return stored.data.byteLength + scaleTensor.data.byteLength;
  }

  private unpack(chain: Chain, bytes: Value, { bits, count, dims }: PackedShape): Value {
    const { graph } = chain;
    const { shifts, fields, offset } = unpackingMatrices(bits);
    const word = wordOf(bits);
    const floats = (name: string, size: readonly number[], values: Float32Array): Value =>
      this.once(graph, `int${bits}_${name}`, () => tensorOf('float32', size, values));
    const shifted = chain.add('MatMul', [bytes, floats('shifts', [word.bytes, word.codes], shifts)]);
    const words = chain.add('Gemm', [
      chain.add('Floor', [shifted]),
      floats('fields', [word.codes, word.codes], fields),
      floats('offset', [1], Float32Array.of(offset)),
    ]);
    const isFull = count % word.codes === 0;
    return chain.add('Reshape', [isFull ? words : this.first(chain, words, count), this.integers(graph, dims)]);
  }

  /** The first `count` codes, as the last word is not full. */
  private first(chain: Chain, words: Value, count: number): Value {
    const flat = chain.add('Reshape', [words, this.integers(chain.graph, [-1])]);
    if (this.opset < OPSET_OF_SLICE_INPUTS)
      return chain.add('Slice', [flat], { starts: attributeOf.ints([0]), ends: attributeOf.ints([count]) });
    return chain.add('Slice', [flat, this.integers(chain.graph, [0]), this.integers(chain.graph, [count])]);
  }

  private integers(graph: Graph, values: readonly number[]): Value {
    return this.once(graph, `integers_${values.join('_')}`, () => int64Tensor([values.length], values));
  }

  private once(graph: Graph, name: string, tensor: () => Tensor): Value {
    const inGraph = this.shared.get(graph) ?? new Map<string, Value>();
    this.shared.set(graph, inGraph);
    const value = inGraph.get(name) ?? this.store.declare(graph, name, tensor()).value;
    inGraph.set(name, value);
    return value;
  }
}

interface PackedShape {
  readonly bits: PackedBits;
  readonly count: number;
  readonly dims: readonly number[];
}

function packedTensor(codes: Int8Array, bits: PackedBits): Tensor {
  const packed = packCodes(codes, bits);
  const { bytes } = wordOf(bits);
  return tensorOf('uint8', [packed.length / bytes, bytes], packed);
}

/** The nodes that make one weight. Their names are short: beside a small weight, they are what the file consists of. */
class Chain {
  readonly nodes: Node[] = [];

  constructor(
    private readonly store: WeightStore,
    readonly graph: Graph,
  ) {}

  add(
    opType: string,
    inputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>> = {},
    output = this.store.newValue('unpack'),
  ): Value {
    this.nodes.push(this.store.newNode({ opType, inputs, outputs: [output], attributes }, 'unpack'));
    return output;
  }
}
