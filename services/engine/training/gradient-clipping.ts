/** Bounds the length of the gradient of all parameters together. */
import type { GraphWriter, Value } from '../ir/index.js';

const EPSILON = 1e-6;

/**
 * g min(1, limit / (|g| + 1e-6)), |g| the square root of the sum of all squares (torch.nn.utils.clip_grad_norm_; Pascanu and others
 * 2013). A gradient within the limit keeps its bits; one that is not finite makes all of them not finite, which the next loss tells.
 */
export function clippedByGlobalNorm(write: GraphWriter, gradients: readonly Value[], limit: number): Value[] {
  const squares = gradients.map((gradient) => write.node('ReduceSumSquare', [gradient], { keepdims: { kind: 'int', value: 0n } }));
  const norm = write.node('Sqrt', [squares.length === 1 ? (squares[0] as Value) : write.node('Sum', squares)]);
  const share = write.node('Div', [write.float(limit), write.node('Add', [norm, write.float(EPSILON)])]);
  const scale = write.node('Min', [share, write.float(1)]);
  return gradients.map((gradient) => write.node('Mul', [gradient, scale]));
}
