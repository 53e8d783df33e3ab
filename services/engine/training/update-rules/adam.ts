/** Adam, and AdamW with decoupled decay. */
import { EngineError } from '../../engine-errors.js';
import { bufferOf, type ParameterUpdate, requireShares, type UpdateRule } from './update-rule.js';

export interface AdamOptions {
  /** 'adam' adds the decay to the gradient (L2), 'adamw' takes it from the weights. */
  readonly name: 'adam' | 'adamw';
  /** Shares of the mean and of the mean square that a step keeps; default 0.9 and 0.999. */
  readonly betas?: readonly [number, number];
  /** Default 1e-8; stands outside the root. */
  readonly epsilon?: number;
  /** Default 0 for adam, 0.01 for adamw. */
  readonly weightDecay?: number;
}

interface Moments {
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly decoupled: boolean;
}

export function adamRule({ name, betas = [0.9, 0.999], epsilon = 1e-8, weightDecay }: AdamOptions): UpdateRule {
  requireShares('betas', betas);
  if (!(epsilon > 0)) throw new EngineError('recipe_invalid', `epsilon must be above 0, not ${epsilon}.`);
  const decoupled = name === 'adamw';
  const moments = { betas, epsilon, decoupled };
  return {
    buffers: ['mean', 'square'],
    weightDecay: weightDecay ?? (decoupled ? 0.01 : 0),
    update: (update) => descendByMoments(update, moments),
  };
}

/**
 * m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p = p - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 * (Kingma and Ba 2015; torch.optim.Adam), with g + wd p for g in Adam, and p (1 - lr wd) for p in AdamW
 * (Loshchilov and Hutter 2019; torch.optim.AdamW).
 */
function descendByMoments(update: ParameterUpdate, { betas: [beta1, beta2], epsilon, decoupled }: Moments): void {
  const { values, gradient, step, learningRate, weightDecay } = update;
  const means = bufferOf(update, 0);
  const squares = bufferOf(update, 1);
  const kept = decoupled ? 1 - learningRate * weightDecay : 1;
  const pull = decoupled ? 0 : weightDecay;
  const root = Math.sqrt(1 - beta2 ** step);
  /** Numerator and denominator times `root`: one product less for each weight. */
  const stride = (learningRate * root) / (1 - beta1 ** step);
  const floor = epsilon * root;
  for (let at = 0; at < values.length; at++) {
    const value = (values[at] ?? 0) * kept;
    const slope = (gradient[at] ?? 0) + pull * value;
    const mean = beta1 * (means[at] ?? 0) + (1 - beta1) * slope;
    const square = beta2 * (squares[at] ?? 0) + (1 - beta2) * slope * slope;
    means[at] = mean;
    squares[at] = square;
    values[at] = value - (stride * mean) / (Math.sqrt(square) + floor);
  }
}
