/** What an operator must look like between DequantizeLinear and QuantizeLinear for the CPU provider to compute it on codes (onnxruntime.md 1.2, 1.3). */
import type { Node, Value } from '../../ir/index.js';
import type { Conversion, QuantizedGraph } from './quantized-graph.js';

export interface IntegerForm {
  /** Inputs that must come from DequantizeLinear. */
  readonly operands: readonly number[] | 'all';
  /** Input with an int32 bias. */
  readonly bias?: number;
  /** Input with weights, which may stay int8 when the activation is uint8. */
  readonly weight?: number;
  /** Whether QuantizeLinear must follow. */
  readonly output: 'required' | 'optional' | 'none';
  /** Movers hand codes on: the parameters before and behind must be the same. */
  readonly moves?: true;
}

const compute = (operands: IntegerForm['operands']): IntegerForm => ({ operands, output: 'required' });
const mover: IntegerForm = { operands: [0], output: 'required', moves: true };

const forms: Readonly<Record<string, IntegerForm>> = {
  Conv: { operands: [0, 1], weight: 1, bias: 2, output: 'required' },
  Gemm: { operands: [0, 1], weight: 1, bias: 2, output: 'optional' },
  MatMul: { operands: [0, 1], weight: 1, output: 'optional' },
  Add: compute([0, 1]),
  Mul: compute([0, 1]),
  Concat: compute('all'),
  Where: compute([1, 2]),
  AveragePool: compute([0]),
  GlobalAveragePool: compute([0]),
  Sigmoid: compute([0]),
  LeakyRelu: compute([0]),
  Softmax: compute([0]),
  ArgMax: { operands: [0], output: 'none' },
  MaxPool: mover,
  Reshape: mover,
  Transpose: mover,
  Flatten: mover,
  Squeeze: mover,
  Unsqueeze: mover,
  Slice: mover,
  Gather: mover,
  GatherElements: mover,
  Expand: mover,
  Tile: mover,
  DepthToSpace: mover,
  Resize: mover,
  ReduceMax: mover,
  ReduceMin: mover,
  Split: mover,
};

/** The integer form of the operator; undefined for operators that the provider computes in float only. */
export function integerForm(node: Pick<Node, 'opType' | 'domain'>): IntegerForm | undefined {
  return node.domain === '' && Object.hasOwn(forms, node.opType) ? forms[node.opType] : undefined;
}

/** The values that `form` wants as codes. */
export function operandsOf(node: Node, form: IntegerForm): (Value | null)[] {
  return form.operands === 'all' ? [...node.inputs] : form.operands.map((index) => node.inputs[index] ?? null);
}

/** The DequantizeLinear whose values arrive here, at most through operators that move them: the runtime pulls it through those. */
export function arrivingCodes(value: Value | null | undefined, graph: QuantizedGraph): Conversion | undefined {
  for (let at = value; at; ) {
    const found = graph.dequantizer(at);
    if (found) return found;
    const producer: Node | null = at.producer;
    at = producer && integerForm(producer)?.moves ? producer.inputs[0] : null;
  }
  return undefined;
}

/** What follows an operator: its QuantizeLinear, and the activation between them. */
export interface Tail {
  /** The one that alone reads the output, or the output of `activation`; absent when there is none or something else reads too. */
  readonly quantizer?: Conversion;
  /** The single operator between. */
  readonly activation?: Node;
  /** True when a QuantizeLinear reads the output and so does something else, or the graph returns it. */
  readonly isAlsoFloat: boolean;
}

export function tailOf(node: Node, graph: QuantizedGraph): Tail {
  const [output] = node.outputs;
  const isAlsoFloat = graph.quantizers(output).length > 0 && !graph.soleUse(output);
  const next = graph.soleUse(output)?.node;
  if (!next || isAlsoFloat) return { isAlsoFloat };
  if (next.opType === 'QuantizeLinear') return { ...present(graph.conversion(next)), isAlsoFloat };
  const form = integerForm(next);
  const isUnary = form === undefined || (form.operands !== 'all' && form.operands.length === 1);
  if (next.domain !== '' || next.outputs.length !== 1 || !isUnary) return { isAlsoFloat };
  const behind = graph.soleUse(next.outputs[0])?.node;
  if (behind?.opType !== 'QuantizeLinear') return { isAlsoFloat };
  return { ...present(graph.conversion(behind)), activation: next, isAlsoFloat };
}

function present(quantizer: Conversion | undefined): { quantizer?: Conversion } {
  return quantizer ? { quantizer } : {};
}
