/** Constant evaluation: nodes whose inputs are constants are run once, in one batch, through the runtime. Changes no node. */
import { byteCount, type DataType, elementCount, Graph, Model, Node, type Tensor, Value } from '../ir/index.js';
import { graphsWithin } from '../ir/traversal.js';
import { isDeterministic } from '../ops/index.js';
import type { Runtime } from '../runtime/execution-session.js';
import type { ModelFacts } from './model-facts.js';

/** A result may be this much larger than the operands it comes from; a larger one is never worth storing, see constant-folding. */
const growthBytesMax = 512 * 1024;

/** Sum over one batch, so that a small file cannot ask for gigabytes. */
const batchBytesMax = 256 * 1024 * 1024;

/** After a failed batch, nodes are evaluated alone to find the one that the runtime refuses; at most this many. */
const singlesMax = 200;

const evaluatedTypes: ReadonlySet<DataType> = new Set([
  'float32',
  'float64',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint8',
  'uint16',
  'bool',
  'float16',
]);

/** Constant nodes are lifted instead; a dequantized weight is kept as it is, because the runtime computes with its integers. */
const notEvaluated: ReadonlySet<string> = new Set(['Constant', 'DequantizeLinear']);

function sizeInBytes(tensor: Tensor): number {
  return byteCount(tensor.dataType, elementCount(tensor.dims));
}

export class ConstantEvaluator {
  private readonly refused = new Set<Node>();

  constructor(
    private readonly model: Model,
    private readonly facts: ModelFacts,
    private readonly runtime: Runtime,
  ) {}

  /** Evaluates what can be evaluated now; returns true when something new became known. */
  async evaluate(): Promise<boolean> {
    const nodes = this.candidates();
    if (nodes.length === 0) return false;
    if (await this.evaluateBatch(nodes)) return true;
    let learnt = false;
    for (const node of nodes.slice(0, singlesMax)) {
      const isReady = node.inputs.every((input) => !input || this.facts.constant(input));
      if (isReady && (await this.evaluateBatch([node]))) learnt = true;
      else this.refused.add(node);
    }
    for (const node of nodes.slice(singlesMax)) this.refused.add(node);
    return learnt;
  }

  private candidates(): Node[] {
    const chosen: Node[] = [];
    const pending = new Map<Value, number>();
    let batchBytes = 0;
    for (const graph of graphsWithin(this.model.graph)) {
      for (const node of graph.nodes) {
        const bytes = this.outputBytes(node, pending);
        if (bytes === undefined || batchBytes + bytes > batchBytesMax) continue;
        batchBytes += bytes;
        for (const output of node.outputs) if (output) pending.set(output, bytes);
        chosen.push(node);
      }
    }
    return chosen;
  }

  /** Bytes that the outputs of an evaluable node take; undefined when it is not evaluable (yet). */
  private outputBytes(node: Node, pending: ReadonlyMap<Value, number>): number | undefined {
    if (node.domain !== '' || notEvaluated.has(node.opType) || this.refused.has(node)) return undefined;
    if (node.subgraphs.length > 0 || !isDeterministic(node)) return undefined;
    if (node.outputs.every((output) => !output || this.facts.constant(output))) return undefined;
    let operandBytes = 0;
    for (const input of node.inputs) {
      if (!input) continue;
      const tensor = this.facts.constant(input);
      const bytes = tensor ? sizeInBytes(tensor) : pending.get(input);
      if (bytes === undefined || (tensor && !evaluatedTypes.has(tensor.dataType))) return undefined;
      operandBytes += bytes;
    }
    let total = 0;
    for (const output of node.outputs) {
      if (!output) continue;
      const { dataType } = this.facts.fact(output);
      const dims = this.facts.dims(output);
      if (!dims || dataType === null || !evaluatedTypes.has(dataType)) return undefined;
      total += byteCount(dataType, elementCount(dims));
    }
    return total <= operandBytes + growthBytesMax ? total : undefined;
  }

  private async evaluateBatch(nodes: readonly Node[]): Promise<boolean> {
    const { model, results } = this.evaluationModel(nodes);
    if (results.length === 0) return false;
    try {
      const session = await this.runtime.open(model, { optimization: 'disabled', threads: 1 });
      try {
        const outputs = await session.run(new Map());
        for (const [name, value] of results) {
          const tensor = outputs.get(name);
          if (tensor) this.facts.learnConstant(value, tensor);
        }
        return true;
      } finally {
        await session.close();
      }
    } catch {
      // The runtime refuses a node of the batch (a type without kernel, an operand out of range): then nothing is known about it.
      return false;
    }
  }

  /** The nodes as a model without inputs that returns all their results. */
  private evaluationModel(nodes: readonly Node[]): { model: Model; results: [string, Value][] } {
    const graph = new Graph('constants');
    const copies = new Map<Value, Value>();
    const results: [string, Value][] = [];
    const operand = (value: Value | null): Value | null => {
      const known = value && (copies.get(value) ?? null);
      const tensor = value && !known ? this.facts.constant(value) : undefined;
      if (!value || !tensor) return known;
      const copy = graph.addInitializer(`c${copies.size}`, tensor);
      copies.set(value, copy);
      return copy;
    };
    for (const node of nodes) {
      const inputs = node.inputs.map(operand);
      const outputs = node.outputs.map((output) => {
        if (!output) return null;
        const { dataType } = this.facts.fact(output);
        const copy = new Value(`c${copies.size}`, { kind: 'tensor', dataType, shape: null });
        copies.set(output, copy);
        if (!this.facts.constant(output)) {
          graph.outputs.push(copy);
          results.push([copy.name, output]);
        }
        return copy;
      });
      graph.append(new Node({ opType: node.opType, inputs, outputs, attributes: node.attributes }));
    }
    const model = new Model(graph);
    model.irVersion = Math.max(4, this.model.irVersion);
    for (const [domain, version] of this.model.opsetImports) model.opsetImports.set(domain, version);
    return { model, results };
  }
}
