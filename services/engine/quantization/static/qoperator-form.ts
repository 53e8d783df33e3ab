/** The same integer part with the integer operators themselves, for runtimes that do not fuse QuantizeLinear and DequantizeLinear pairs. */
import { EngineError } from '../../engine-errors.js';
import type { Attribute, Graph, Model, Node, Value } from '../../ir/index.js';
import { reportName, type WeightStore } from '../../layers/weight-store.js';
import type { IntegerForm } from './integer-form.js';
import type { IntegerUnit } from './integer-units.js';

/** Codes with scale and zero point, in the order in which integer operators take them. */
type Coded = readonly [codes: Value | null, scale: Value | null, zeroPoint: Value | null];

interface IntegerOperator {
  readonly opType: string;
  readonly domain: string;
  readonly inputs: readonly (Value | null)[];
  readonly attributes: ReadonlyMap<string, Attribute>;
}

/** Names of com.microsoft's integer forms of the operators between layers (onnxruntime.md 1.3). */
const integerNames: Readonly<Record<string, string>> = {
  Add: 'QLinearAdd',
  Mul: 'QLinearMul',
  Concat: 'QLinearConcat',
  AveragePool: 'QLinearAveragePool',
  GlobalAveragePool: 'QLinearGlobalAveragePool',
  LeakyRelu: 'QLinearLeakyRelu',
  Sigmoid: 'QLinearSigmoid',
};

/** Rewrites the pairs around the units of `form`, which qdq-emission.ts has written into `model`. */
export function useIntegerOperators(model: Model, store: WeightStore, form: IntegerForm): void {
  const { graph } = model;
  const emitted = new Map(graph.nodes.map((node) => [node.name, node]));
  for (const unit of form.units) {
    const node = emitted.get(unit.name);
    if (node && node.opType !== 'MatMulIntegerToFloat') rewriteUnit(graph, store, { unit, node });
  }
  dropUnreadPairs(graph, store);
  if (!model.opsetImports.has('com.microsoft')) model.opsetImports.set('com.microsoft', 1);
}

function rewriteUnit(graph: Graph, store: WeightStore, { unit, node }: { unit: IntegerUnit; node: Node }): void {
  const output = node.outputs[0];
  const quantize = output?.consumers.find(({ opType }) => opType === 'QuantizeLinear');
  const target = quantize?.outputs[0] ?? output;
  if (!output || !target) throw new Error(`unit ${unit.name} has no output`);
  if (unit.role === 'same-range') {
    node.setInput(0, behindDequantize(node.inputs[0])[0]);
    if (quantize) graph.remove([quantize]);
    node.setOutput(0, target);
    return;
  }
  const made = integerOperator(node, quantize ? [quantize.inputs[1] ?? null, quantize.inputs[2] ?? null] : null);
  const replacement = store.newNode({ ...made, outputs: [target] }, `${reportName(node)}_integer`);
  graph.insertBefore(node, replacement);
  graph.remove(quantize ? [node, quantize] : [node]);
  replacement.name = node.name;
}

function behindDequantize(value: Value | null | undefined): Coded {
  const producer = value?.producer;
  if (producer?.opType !== 'DequantizeLinear') throw new Error(`value ${value?.name} does not come from codes`);
  return [producer.inputs[0] ?? null, producer.inputs[1] ?? null, producer.inputs[2] ?? null];
}

type OutputParameters = readonly [scale: Value | null, zeroPoint: Value | null];

function integerOperator(node: Node, output: OutputParameters | null): IntegerOperator {
  const coded = node.inputs.map((input) => (input ? behindDequantize(input) : null));
  const [first, second, bias] = coded;
  const { attributes } = node;
  if (node.opType === 'Gemm') {
    const inputs = [...(first ?? []), ...(second ?? []), bias?.[0] ?? null, ...(output ?? [])];
    return { opType: 'QGemm', domain: 'com.microsoft', inputs: withoutTail(inputs), attributes };
  }
  if (!output)
    throw new EngineError(
      'model_unsupported',
      `${node.opType} ${reportName(node)} has no integer operator with a float result; use format "qdq".`,
    );
  if (node.opType === 'Conv') {
    const inputs = [...(first ?? []), ...(second ?? []), ...output, bias?.[0] ?? null];
    return { opType: 'QLinearConv', domain: '', inputs: withoutTail(inputs), attributes };
  }
  const opType = integerNames[node.opType];
  if (!opType) throw new EngineError('model_unsupported', `${node.opType} ${reportName(node)} has no integer operator; use format "qdq".`);
  const operands = coded.flatMap((each) => each ?? []);
  return {
    opType,
    domain: 'com.microsoft',
    inputs: node.opType === 'Concat' ? [...output, ...operands] : [...operands, ...output],
    attributes,
  };
}

function withoutTail(inputs: readonly (Value | null)[]): (Value | null)[] {
  const kept = [...inputs];
  while (kept.at(-1) === null) kept.pop();
  return kept;
}

/** Conversions that nothing reads any more, and the constants that only they read. */
function dropUnreadPairs(graph: Graph, store: WeightStore): void {
  const isUnread = ({ opType, outputs }: Node): boolean =>
    opType === 'DequantizeLinear' && outputs.every((output) => !output || (!output.isRead && !store.isGraphOutput(output)));
  graph.remove(graph.nodes.filter(isUnread));
  for (const value of [...graph.initializers.keys()]) if (!value.isRead && !store.isGraphOutput(value)) graph.initializers.delete(value);
}
