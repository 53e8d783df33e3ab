/** The int8 form of each weight in the graph: codes and scales added once, however many layers share them. */
import { attributeOf, elementCount, float32Values, type Node, type Tensor, tensorOf, type Value } from '../ir/index.js';
import type { Constant, WeightStore } from '../layers/weight-store.js';
import { type QuantizedMatrix, quantizeWeights, transposed, type WeightScheme } from './weight-quantization.js';

/** ONNX TensorProto.DataType of float32, as Cast takes it. */
const FLOAT32 = 1;

export interface Int8Form extends WeightScheme {
  readonly reductionAxis: 0 | 1;
  /** Whether a reader needs the codes in the layout of the float weight. */
  readonly keepsLayout: boolean;
  /** Multiplied to the weights along the reduced axis before they are quantized; see activation-smoothing.ts. */
  readonly factors?: Float32Array | undefined;
}

/** A weight as a stack of matrices: [rows, columns], or [directions, rows, columns] for recurrent weights. */
export class Int8Weight {
  private readonly quantized: QuantizedMatrix;
  private readonly reductionAxis: 0 | 1;
  private codesValue: Constant | undefined;
  private readonly added = new Map<string, Value>();

  constructor(
    private readonly store: WeightStore,
    readonly constant: Constant,
    private readonly form: Int8Form,
  ) {
    const { dims } = constant.tensor;
    const columns = dims.at(-1) ?? 1;
    this.reductionAxis = form.reductionAxis;
    this.quantized = quantizeWeights(
      {
        values: multiplied(float32Values(constant.tensor), columns, form),
        rows: elementCount(dims) / columns,
        columns,
        reductionAxis: form.reductionAxis,
      },
      form,
    );
  }

  get scaleCount(): number {
    return this.quantized.scales.length;
  }

  /** True when each row of the weight has a scale of its own. */
  get hasRowScales(): boolean {
    return this.scaleCount > 1 && this.reductionAxis === 1;
  }

  /** The codes in the layout of the float weight. */
  codes(): Value {
    this.codesValue ??= this.store.add(this.constant, '_int8', tensorOf('int8', this.constant.tensor.dims, this.quantized.codes));
    return this.codesValue.value;
  }

  /** The codes with the reduced axis first: [K, N], or [directions, K, N]. */
  codesReducedFirst(): Value {
    if (this.reductionAxis === 0) return this.codes();
    return this.once('transposed', () => (this.form.keepsLayout ? this.transposedAtLoad() : this.transposedNow()));
  }

  private transposedNow(): Value {
    const { dims } = this.constant.tensor;
    const [rows = 1, columns = 1] = dims.slice(-2);
    const size = rows * columns;
    const codes = new Int8Array(this.quantized.codes.length);
    for (let at = 0; at < codes.length; at += size) codes.set(transposed(this.quantized.codes.subarray(at, at + size), rows, columns), at);
    return this.store.add(this.constant, '_int8', tensorOf('int8', [...dims.slice(0, -2), columns, rows], codes)).value;
  }

  /** Another reader needs the codes as they lie, so the file holds them once and the runtime transposes when it loads. */
  private transposedAtLoad(): Value {
    const output = this.store.newValue(`${this.constant.value.name}_int8_transposed`);
    const inputs = [this.codes()];
    const node = this.store.newNode(
      { opType: 'Transpose', inputs, outputs: [output], attributes: { perm: attributeOf.ints([1, 0]) } },
      output.name,
    );
    this.store.insertFirst(this.constant.graph, node);
    return output;
  }

  /** Scales times `factor`, as `dims`. */
  scales(dims: readonly number[], factor = 1): Value {
    return this.once(`scales ${factor} ${dims}`, () => {
      const count = elementCount(dims);
      const values = Float32Array.from({ length: count }, (_, at) => factor * (this.quantized.scales[this.scaleCount === 1 ? 0 : at] ?? 1));
      return this.store.add(this.constant, '_scale', tensorOf('float32', dims, values)).value;
    });
  }

  /** Zero points for operators that demand them: all 0. */
  zeroPoints(dims: readonly number[]): Value {
    return this.once(
      `zeros ${dims}`,
      () => this.store.add(this.constant, '_zero_point', tensorOf('int8', dims, new Int8Array(elementCount(dims)))).value,
    );
  }

  /** Dims that spread the scales over the float weight. */
  broadcastScaleDims(): readonly number[] {
    if (this.scaleCount === 1) return [];
    const { dims } = this.constant.tensor;
    return this.reductionAxis === 0 ? [this.scaleCount] : [...dims.slice(0, -1), 1];
  }

  /** The float weight becomes codes x scales, folded by the runtime when it loads the model; its readers stay as they are. */
  widenAtLoad(): void {
    this.once('widened', () => {
      const widened = this.store.newValue(`${this.constant.value.name}_widened`);
      const codes = this.codes();
      const scales = this.scales(this.broadcastScaleDims());
      const attributes = { to: attributeOf.int(FLOAT32) };
      this.store.computeAtLoad(this.constant, (value): Node[] => [
        this.store.newNode({ opType: 'Cast', inputs: [codes], outputs: [widened], attributes }, widened.name),
        this.store.newNode({ opType: 'Mul', inputs: [widened, scales], outputs: [value] }, `${value.name}_rescaled`),
      ]);
      return this.constant.value;
    });
  }

  private once(key: string, make: () => Value): Value {
    const known = this.added.get(key);
    if (known) return known;
    const value = make();
    this.added.set(key, value);
    return value;
  }
}

function multiplied(values: Float32Array, columns: number, { factors, reductionAxis }: Int8Form): Float32Array {
  if (!factors) return values;
  return values.map((value, at) => value * (factors[reductionAxis === 0 ? Math.floor(at / columns) : at % columns] ?? 1));
}

/** Bytes that int8 takes away from the file: three of four per weight, less the scales and the text of the nodes that use them. */
export function bytesSaved({ dims }: Tensor, scaleCount: number): number {
  return 3 * elementCount(dims) - 4 * scaleCount - NODE_TEXT_BYTES;
}

const NODE_TEXT_BYTES = 250;
