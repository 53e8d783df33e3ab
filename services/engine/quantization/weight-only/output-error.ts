/** How far the outputs of a product move when its weights do, from the second moments of its inputs alone; computed by the runtime. */
import { attributeOf, float32Tensor, float32Values, Graph, int64Tensor, Model, Node, type Tensor, Value } from '../../ir/index.js';
import type { ExecutionSession, Runtime } from '../../runtime/execution-session.js';
import type { WeightRows } from './blocked-weights.js';

const OPSET = 17;
const IR_VERSION = 8;

/** X^T X / n as the runtime takes it, [depth, depth]; made once for the errors of several matrices. */
export function momentsTensor(hessian: Float64Array, depth: number): Tensor {
  return float32Tensor([depth, depth], Float32Array.from(hessian));
}

/** Must be closed. */
export class OutputErrors {
  private constructor(private readonly session: ExecutionSession) {}

  static async open(runtime: Runtime): Promise<OutputErrors> {
    return new OutputErrors(await runtime.open(quadraticFormModel()));
  }

  /** sum_n d_n^T H d_n = E ||D x||^2 for D [channels, depth] and H = X^T X / n: the mean squared size of the outputs D x. */
  async power(rows: WeightRows, moments: Tensor): Promise<number> {
    const difference = float32Tensor([rows.channels, rows.depth], rows.values);
    const results = await this.session.run(
      new Map([
        ['d', difference],
        ['h', moments],
      ]),
    );
    const parts = results.get('y');
    let sum = 0;
    for (const part of parts ? float32Values(parts) : []) sum += Math.max(0, part);
    return sum;
  }

  /** E ||(W - W') x||^2. */
  async error(rows: WeightRows, approximation: Float32Array, moments: Tensor): Promise<number> {
    return this.power({ ...rows, values: rows.values.map((value, at) => value - (approximation[at] ?? 0)) }, moments);
  }

  /** 10 log10(E ||W x||^2 / E ||(W - W') x||^2) in dB: the signal to noise ratio of the outputs without their bias. */
  async sqnr(rows: WeightRows, approximation: Float32Array, moments: Tensor): Promise<number> {
    const noise = await this.error(rows, approximation, moments);
    return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10((await this.power(rows, moments)) / noise);
  }

  close(): Promise<void> {
    return this.session.close();
  }
}

function matrix(name: string, rows: string): Value {
  return new Value(name, { kind: 'tensor', dataType: 'float32', shape: [rows, 'k'] });
}

/** y_n = sum_kl d_nk h_kl d_nl. */
function quadraticFormModel(): Model {
  const d = matrix('d', 'n');
  const h = matrix('h', 'k');
  const [product, terms] = [new Value('product'), new Value('terms')];
  const y = new Value('y', { kind: 'tensor', dataType: 'float32', shape: ['n'] });
  const graph = new Graph('quadratic_form');
  graph.inputs.push(d, h);
  const axes = graph.addInitializer('axes', int64Tensor([1], [1]));
  graph.append(
    new Node({ opType: 'MatMul', inputs: [d, h], outputs: [product] }),
    new Node({ opType: 'Mul', inputs: [product, d], outputs: [terms] }),
    new Node({ opType: 'ReduceSum', inputs: [terms, axes], outputs: [y], attributes: { keepdims: attributeOf.int(0) } }),
  );
  graph.outputs.push(y);
  const model = new Model(graph);
  model.irVersion = IR_VERSION;
  model.opsetImports.set('', OPSET);
  return model;
}
