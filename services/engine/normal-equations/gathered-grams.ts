/** Normal equations of layers that see few rows in a run, as in models with a fixed batch: gathered until a product is worth its memory. */
import { attributeOf, float32Tensor, float32Values, Graph, Model, Node, type Tensor, Value } from '../ir/index.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';
import { type GramMatrix, GramTotals } from './gram-totals.js';
import { groupsOf, type RowLayer } from './layer-rows.js';
import type { ProbeGraph } from './probe-graph.js';
import type { FetchedParts, RowSum } from './row-sums.js';

/** The rows leave the runtime, and one product is made of many runs. */
export class GatheredGramSum implements RowSum<GramMatrix> {
  private readonly output: string;
  private readonly sums: GramTotals;
  private readonly groups: number;
  private readonly session: Promise<ExecutionSession>;
  private gathered: Tensor[] = [];
  private count = 0;

  constructor(
    probe: ProbeGraph,
    rows: Value,
    private readonly layer: RowLayer,
    runtime: Runtime,
  ) {
    this.groups = groupsOf(layer);
    this.sums = new GramTotals(layer);
    this.output = probe.output(rows, 'float32');
    this.session = runtime.open(productModel());
    // Awaited when rows are multiplied; a failure is told there.
    this.session.catch(() => undefined);
  }

  async add(part: FetchedParts): Promise<void> {
    const rows = part(this.output);
    this.gathered.push(rows);
    this.count += rows.dims[2] ?? 0;
    if (this.count * this.groups * this.layer.depth * 4 >= GATHERED_BYTES || this.count >= this.layer.depth) await this.multiply();
  }

  async result(): Promise<GramMatrix> {
    if (this.count > 0) await this.multiply();
    return this.sums.result();
  }

  async close(): Promise<void> {
    await (await this.session).close();
  }

  private async multiply(): Promise<void> {
    const rows = sideBySide(this.gathered, [this.groups * this.layer.depth, this.count]);
    const feed = float32Tensor([this.groups, this.layer.depth, this.count], rows);
    const results = [...(await (await this.session).run(new Map([['rows', feed]]))).values()];
    const [gram, mean] = results.map(float32Values);
    if (gram && mean) this.sums.add(gram, mean, this.count);
    this.gathered = [];
    this.count = 0;
  }
}

const GATHERED_BYTES = 8 * 2 ** 20;
const OPSET = 13;
const IR_VERSION = 8;

/** rows [group, K, n] -> rows rows^T and the mean of the rows. */
function productModel(): Model {
  const graph = new Graph('gram');
  const value = (name: string): Value => new Value(name, { kind: 'tensor', dataType: 'float32', shape: [null, null, null] });
  const [rows, flipped, gram, mean] = [value('rows'), value('flipped'), value('gram'), value('mean')];
  const perm = attributeOf.ints([0, 2, 1]);
  graph.inputs.push(rows);
  graph.outputs.push(gram, mean);
  graph.append(
    new Node({ opType: 'Transpose', inputs: [rows], outputs: [flipped], attributes: { perm } }),
    new Node({ opType: 'MatMul', inputs: [rows, flipped], outputs: [gram] }),
    new Node({ opType: 'GlobalAveragePool', inputs: [rows], outputs: [mean] }),
  );
  const model = new Model(graph);
  model.irVersion = IR_VERSION;
  model.opsetImports.set('', OPSET);
  return model;
}

/** Matrices with `height` rows each, one beside the other. */
function sideBySide(parts: readonly Tensor[], [height, width]: readonly [number, number]): Float32Array {
  const result = new Float32Array(height * width);
  let column = 0;
  for (const part of parts) {
    const values = float32Values(part);
    const own = values.length / height;
    for (let row = 0; row < height; row += 1) result.set(values.subarray(row * own, (row + 1) * own), row * width + column);
    column += own;
  }
  return result;
}
