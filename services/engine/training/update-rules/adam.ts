/** Adam, and AdamW with decoupled decay. */
import { EngineError } from '../../engine-errors.js';
import {
  blended,
  nth,
  requireDecay,
  requireShares,
  slopeWithDecay,
  type Update,
  type UpdateRule,
  type UpdateScope,
} from './update-rule.js';

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

/**
 * m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p = p - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 * (Kingma and Ba 2015; torch.optim.Adam), with g + wd p for g in Adam, and p (1 - lr wd) for p in AdamW
 * (Loshchilov and Hutter 2019; torch.optim.AdamW). Numerator and denominator are taken times sqrt(1 - b2^t): one product less.
 */
export function adamRule({ name, betas = [0.9, 0.999], epsilon = 1e-8, weightDecay }: AdamOptions): UpdateRule {
  requireShares('betas', betas);
  if (!(epsilon > 0)) throw new EngineError('recipe_invalid', `epsilon must be above 0, not ${epsilon}.`);
  const decoupled = name === 'adamw';
  const decay = weightDecay ?? (decoupled ? 0.01 : 0);
  requireDecay(decay);
  return {
    buffers: ['mean', 'square'],
    rates: ['stride', 'floor', ...(decoupled ? ['kept'] : [])],
    ratesAt(step, learningRate) {
      const root = Math.sqrt(1 - betas[1] ** step);
      return [(learningRate * root) / (1 - betas[0] ** step), epsilon * root, ...(decoupled ? [1 - learningRate * decay] : [])];
    },
    write: (scope) => descendByMoments(scope, { betas, pull: decoupled ? 0 : decay, decoupled }),
  };
}

interface Moments {
  readonly betas: readonly [number, number];
  /** Decay that is part of the gradient. */
  readonly pull: number;
  readonly decoupled: boolean;
}

function descendByMoments(scope: UpdateScope, { betas: [beta1, beta2], pull, decoupled }: Moments): Update {
  const { write, value, buffers, rates, decays } = scope;
  const slope = slopeWithDecay(scope, pull);
  const mean = blended(write, beta1, nth(buffers, 0), slope);
  const square = blended(write, beta2, nth(buffers, 1), write.node('Mul', [slope, slope]));
  const length = write.node('Add', [write.node('Sqrt', [square]), nth(rates, 1)]);
  const stride = write.node('Mul', [write.node('Div', [mean, length]), nth(rates, 0)]);
  const kept = decoupled && decays ? write.node('Mul', [value, nth(rates, 2)]) : value;
  return { value: write.node('Sub', [kept, stride]), buffers: [mean, square] };
}
