/** Recognises LSTM nodes that the dynamically quantized LSTM kernel can take over, and says of the others why they are left. */
import { elementCount, float32Values, intAttribute, type Node } from '../ir/index.js';
import { allFinite } from '../layers/finite-values.js';
import type { Constant, WeightStore } from '../layers/weight-store.js';

export interface LstmLayer {
  readonly kind: 'lstm';
  readonly node: Node;
  /** [directions, 4 hidden, inputs]. */
  readonly weight: Constant;
  /** [directions, 4 hidden, hidden]. */
  readonly recurrence: Constant;
  readonly directions: number;
  readonly inputSize: number;
  readonly hiddenSize: number;
  readonly integerObstacle: string | null;
}

/** The layer that an LSTM node is, or the reason why it is left. */
export function lstmLayer(node: Node, store: WeightStore): LstmLayer | { readonly reason: string } {
  const weight = store.constant(node.inputs[1]);
  const recurrence = store.constant(node.inputs[2]);
  if (!weight || !recurrence) return { reason: 'its weights are not constant' };
  for (const { tensor, value } of [weight, recurrence]) {
    if (tensor.dataType !== 'float32') return { reason: `its weight "${value.name}" is ${tensor.dataType}, not float32` };
    if (tensor.dims.length !== 3 || elementCount(tensor.dims) === 0)
      return { reason: `its weight "${value.name}" has shape [${tensor.dims}]` };
    if (!allFinite(float32Values(tensor))) return { reason: `its weight "${value.name}" holds values that are not finite numbers` };
  }
  const [directions = 0, gates = 0, inputSize = 0] = weight.tensor.dims;
  const hiddenSize = gates / 4;
  if (recurrence.tensor.dims.join() !== [directions, gates, hiddenSize].join()) return { reason: 'the shapes of its weights do not agree' };
  return { kind: 'lstm', node, weight, recurrence, directions, inputSize, hiddenSize, integerObstacle: kernelObstacle(node) };
}

/** What com.microsoft DynamicQuantizeLSTM does not have: the batch-first layout, and another kernel's reset of the peepholes. */
function kernelObstacle(node: Node): string | null {
  if (intAttribute(node, 'layout', 0) === 1) return 'the integer LSTM has no batch-first layout';
  return null;
}
