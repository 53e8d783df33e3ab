/** Gather of a dequantized table: the whole table is dequantized in every run, to look up a few rows. */
import { attributeOf, intAttribute, type Node, type Tensor, type Value } from '../../../ir/index.js';
import type { Constant } from '../../../layers/weight-store.js';
import type { Diagnosis, Rule } from '../finding.js';
import { type Conversion, type QuantizedGraph, withoutOmittedEnd } from '../quantized-graph.js';

/** TensorProto.DataType of float32, as Cast takes it. */
const FLOAT32 = 1;

type Table = Conversion & { readonly constant: Constant };

export const embeddingDequantize: Rule = {
  title: 'An embedding table that is dequantized before rows are looked up.',
  examine: (graph) =>
    graph.nodes.flatMap((node): Diagnosis[] => {
      const table = node.opType === 'Gather' && node.domain === '' ? graph.dequantizedConstant(node.inputs[0]) : undefined;
      if (!table || intAttribute(node, 'axis', 0) !== 0) return [];
      const base = {
        node,
        effect: 'slow',
        sentence: `It looks up rows of "${table.input.name}" behind its DequantizeLinear: the whole table is dequantized in every run.`,
      } as const;
      const isByte = table.constant.tensor.dataType === 'int8' || table.constant.tensor.dataType === 'uint8';
      if (!isByte || table.blockSize > 0) {
        return [
          { ...base, repairable: 'no', instead: 'Use GatherBlockQuantized (com.microsoft), which dequantizes the rows that it takes.' },
        ];
      }
      const apply = () => {
        lookUpCodes(node, table, graph);
        return [];
      };
      return [
        {
          ...base,
          repairable: 'exact',
          instead: 'The codes of the rows are looked up, then dequantized.',
          repair: { proof: 'equal', apply },
        },
      ];
    }),
};

function lookUpCodes(node: Node, table: Table, graph: QuantizedGraph): void {
  const output = node.outputs[0];
  if (!output || !node.graph) return;
  const gather = (source: Value, stem: string): Value => {
    const made = graph.store.newValue(`${output.name}_${stem}`);
    const inputs = [source, node.inputs[1] ?? null];
    node.graph?.insertBefore(
      node,
      graph.store.newNode({ opType: 'Gather', inputs, outputs: [made], attributes: node.attributes }, made.name),
    );
    return made;
  };
  const { constant, scale, zeroPoint, zeroPoints } = table;
  const rank = constant.tensor.dims.length;
  const axis = table.axis < 0 ? table.axis + rank : table.axis;
  const codes = gather(table.input, 'codes');
  const { attributes } = table.node;
  node.setOutput(0, null);
  if (table.isPerTensor || axis > 0) {
    const inputs = withoutOmittedEnd([codes, scale, zeroPoint]);
    const own = table.isPerTensor ? {} : { axis: attributeOf.int(axis - rank) };
    node.graph.insertBefore(
      node,
      graph.store.newNode(
        {
          opType: 'DequantizeLinear',
          domain: table.node.domain,
          inputs,
          outputs: [output],
          attributes: { ...Object.fromEntries(attributes), ...own },
        },
        `${output.name}_dequantize`,
      ),
    );
  } else {
    const rows = (tensor: Tensor): Tensor => ({ ...tensor, dims: [tensor.dims[0] ?? 1, ...Array.from({ length: rank - 1 }, () => 1)] });
    const perRow = (value: Value | null, stem: string): Value | null => {
      const tensor = graph.store.constant(value)?.tensor;
      return tensor ? gather(graph.store.add({ ...constant, tensor }, `_${stem}`, rows(tensor)).value, stem) : null;
    };
    const hasOffset = zeroPoints?.some((each) => each !== 0) ?? true;
    scaleRows({ node, output, codes, offset: hasOffset ? perRow(zeroPoint, 'zero_points') : null, factor: perRow(scale, 'scales') }, graph);
  }
  node.graph.remove([node]);
}

interface Rows {
  readonly node: Node;
  readonly output: Value;
  readonly codes: Value;
  readonly offset: Value | null;
  readonly factor: Value | null;
}

/** (float(q) - float(zp)) * s: integers of 8 bit are exact in float32, so this is what DequantizeLinear computes. */
function scaleRows({ node, output, codes, offset, factor }: Rows, graph: QuantizedGraph): void {
  const append = (opType: string, inputs: (Value | null)[], result?: Value): Value => {
    const made = result ?? graph.store.newValue(`${output.name}_${opType.toLowerCase()}`);
    const attributes = opType === 'Cast' ? { to: attributeOf.int(FLOAT32) } : {};
    node.graph?.insertBefore(node, graph.store.newNode({ opType, inputs, outputs: [made], attributes }, made.name));
    return made;
  };
  const widened = append('Cast', [codes]);
  const centred = offset ? append('Sub', [widened, append('Cast', [offset])]) : widened;
  append('Mul', [centred, factor], output);
}
