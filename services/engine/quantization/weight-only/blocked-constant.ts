/** The blocked form of one constant in the graph: codes, scales and zero points added once, however many layers read them. */
import { attributeOf, float32Tensor, type Node, type Tensor, tensorOf, type Value } from '../../ir/index.js';
import type { SharedConstants } from '../../layers/shared-constants.js';
import type { Constant, WeightStore } from '../../layers/weight-store.js';
import { type BlockedWeights, middleCode } from './blocked-weights.js';
import { packedBlocks, packedZeroPoints } from './code-packing.js';

/** ONNX TensorProto.DataType, as Cast takes it. */
const FLOAT32 = 1;
const INT32 = 6;
/** From this version on Slice takes its bounds as inputs. */
const OPSET_OF_SLICE_INPUTS = 10;

export interface BlockedConstantForm {
  /** Where the blocks run in the float weight: 0 for [depth, channels], 1 for [channels, depth]. */
  readonly axis: 0 | 1;
  /** Whether products read it, beside lookups. */
  readonly hasProducts: boolean;
  readonly opset: number;
  /** What the constants of one model share. */
  readonly shared: SharedConstants;
}

export class BlockedConstant {
  private readonly added = new Map<string, Value>();

  constructor(
    private readonly store: WeightStore,
    readonly constant: Constant,
    readonly weights: BlockedWeights,
    private readonly about: BlockedConstantForm,
  ) {}

  /** [channels, blocks, bytes of a block]. */
  codes(): Value {
    return this.once('codes', () => {
      const { channels, blocks, blockSize, bits } = this.weights;
      return this.add(`_${bits}bit`, tensorOf('uint8', [channels, blocks, (blockSize * bits) / 8], packedBlocks(this.weights)));
    });
  }

  /** The same codes as a table [channels, bytes of a row]: the blocks must fill the depth, so that there is no padding in the rows. */
  codeTable(): Value {
    const { channels, depth, bits } = this.weights;
    const dims = [channels, (depth * bits) / 8];
    return this.once('table', () => {
      if (this.about.hasProducts) return this.reshapedAtLoad(this.codes(), dims);
      return this.add(`_${bits}bit`, tensorOf('uint8', dims, packedBlocks(this.weights)));
    });
  }

  /** [channels, blocks], times `factor`. */
  scales(factor = 1): Value {
    return this.once(`scales ${factor}`, () => {
      const { channels, blocks, scales } = this.weights;
      const values = factor === 1 ? scales : scales.map((scale) => scale * factor);
      return this.add('_scale', float32Tensor([channels, blocks], values));
    });
  }

  /** Packed, [channels, ceil(blocks * bits / 8)]; null where they are all in the middle of the codes. */
  zeroPoints(): Value | null {
    if (this.weights.symmetric) return null;
    return this.once('zeros', () => {
      const bytes = packedZeroPoints(this.weights);
      return this.add('_zero_point', tensorOf('uint8', [this.weights.channels, bytes.length / this.weights.channels], bytes));
    });
  }

  /** The float weight is computed from the codes by the runtime when it loads the model; its readers stay as they are. */
  widenAtLoad(): void {
    this.once('widened', () => {
      const { channels, depth, blocks, blockSize } = this.weights;
      const isPadded = blocks * blockSize !== depth;
      const stem = this.constant.value.name;
      const chain = new NodeChain(this.store, stem);
      const steps = this.unpacked(chain, this.codes(), [channels, blocks, blockSize]);
      const centred = this.weights.symmetric ? steps : chain.add('Sub', [steps, this.unpackedZeroPoints(chain)]);
      const scales = chain.add('Reshape', [this.scales(), this.shape([channels, blocks, 1])]);
      const scaled = chain.add('Mul', [centred, scales]);
      const rows = chain.add('Reshape', [scaled, this.shape([channels, blocks * blockSize])]);
      const cut = isPadded ? this.sliced(chain, rows, depth) : rows;
      const transpose = { perm: attributeOf.ints([1, 0]) };
      const last =
        this.about.axis === 0 ? { opType: 'Transpose', inputs: [cut], attributes: transpose } : { opType: 'Identity', inputs: [cut] };
      this.store.computeAtLoad(this.constant, (value) => [
        ...chain.nodes,
        this.store.newNode({ ...last, outputs: [value] }, `${stem}_widen`),
      ]);
      return this.constant.value;
    });
  }

  /** Codes as float32 of the given dims, less the middle code when the weights are symmetric. */
  private unpacked(chain: NodeChain, codes: Value, dims: readonly number[]): Value {
    const { bits, symmetric } = this.weights;
    const offset = symmetric ? middleCode(bits) : 0;
    if (bits === 8) {
      const floats = chain.add('Cast', [codes], { to: attributeOf.int(FLOAT32) });
      return offset === 0 ? floats : chain.add('Sub', [floats, this.shared('middle', `${offset}`, () => float32Tensor([], [offset]))]);
    }
    const bytes = chain.add('Cast', [codes], { to: attributeOf.int(INT32) });
    return chain.add('Reshape', [chain.add('Gather', [this.codesOfBytes(offset), bytes]), this.shape(dims)]);
  }

  /** [256, codes per byte]: the codes that every byte holds. */
  private codesOfBytes(offset: number): Value {
    const { bits } = this.weights;
    return this.shared('codes_of_bytes', `${bits} ${offset}`, () => {
      const perByte = 8 / bits;
      const values = Float32Array.from({ length: 256 * perByte }, (_, at) => {
        const byte = Math.floor(at / perByte);
        return ((byte >> (bits * (at % perByte))) & (2 ** bits - 1)) - offset;
      });
      return float32Tensor([256, perByte], values);
    });
  }

  private unpackedZeroPoints(chain: NodeChain): Value {
    const { channels, blocks, bits } = this.weights;
    const packed = this.zeroPoints();
    if (!packed) throw new Error('symmetric weights have no zero points');
    const stored = bits === 8 ? blocks : Math.ceil((blocks * bits) / 8) * (8 / bits);
    const unpacked = this.unpacked(chain, packed, [channels, stored]);
    const cut = stored === blocks ? unpacked : this.sliced(chain, unpacked, blocks);
    return chain.add('Reshape', [cut, this.shape([channels, blocks, 1])]);
  }

  /** The first `length` columns of a matrix. */
  private sliced(chain: NodeChain, matrix: Value, length: number): Value {
    if (this.about.opset < OPSET_OF_SLICE_INPUTS) {
      const attributes = { axes: attributeOf.ints([1]), starts: attributeOf.ints([0]), ends: attributeOf.ints([length]) };
      return chain.add('Slice', [matrix], attributes);
    }
    return chain.add('Slice', [matrix, this.shape([0]), this.shape([length]), this.shape([1])]);
  }

  private shape(dims: readonly number[]): Value {
    return this.about.shared.integers(this.constant.graph, dims);
  }

  /** The same for all constants of the graph. */
  private shared(name: string, key: string, make: () => Tensor): Value {
    return this.about.shared.once(this.constant.graph, { key: `${name} ${key}`, name }, make);
  }

  private reshapedAtLoad(source: Value, dims: readonly number[]): Value {
    const output = this.store.newValue(`${source.name}_table`);
    const node = this.store.newNode({ opType: 'Reshape', inputs: [source, this.shape(dims)], outputs: [output] }, output.name);
    this.store.insertFirst(this.constant.graph, node);
    return output;
  }

  private add(suffix: string, tensor: Tensor): Value {
    return this.store.add(this.constant, suffix, tensor).value;
  }

  private once(key: string, make: () => Value): Value {
    const known = this.added.get(key);
    if (known) return known;
    const value = make();
    this.added.set(key, value);
    return value;
  }
}

/** Nodes in a row, each of which is named for the constant that they make. */
class NodeChain {
  readonly nodes: Node[] = [];

  constructor(
    private readonly store: WeightStore,
    private readonly stem: string,
  ) {}

  add(opType: string, inputs: readonly Value[], attributes: Parameters<WeightStore['newNode']>[0]['attributes'] = {}): Value {
    const output = this.store.newValue(`${this.stem}_w`);
    this.nodes.push(this.store.newNode({ opType, inputs, outputs: [output], attributes }, output.name));
    return output;
  }
}
