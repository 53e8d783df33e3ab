/** Lion: steps of one size, in the direction of the sign of the momentum. */
import { bufferOf, type ParameterUpdate, requireShares, type UpdateRule } from './update-rule.js';

export interface LionOptions {
  readonly name: 'lion';
  /** Shares of the momentum in the direction and in what is kept of it; default 0.9 and 0.99. */
  readonly betas?: readonly [number, number];
  /** Default 0; decoupled. */
  readonly weightDecay?: number;
}

export function lionRule({ betas = [0.9, 0.99], weightDecay = 0 }: LionOptions): UpdateRule {
  requireShares('betas', betas);
  return { buffers: ['momentum'], weightDecay, update: (update) => descendBySign(update, betas) };
}

/** p = p (1 - lr wd) - lr sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g (Chen and others 2023, algorithm 2). */
function descendBySign(update: ParameterUpdate, [beta1, beta2]: readonly [number, number]): void {
  const { values, gradient, learningRate, weightDecay } = update;
  const momentum = bufferOf(update, 0);
  const kept = 1 - learningRate * weightDecay;
  for (let at = 0; at < values.length; at++) {
    const slope = gradient[at] ?? 0;
    const before = momentum[at] ?? 0;
    values[at] = (values[at] ?? 0) * kept - learningRate * signOf(beta1 * before + (1 - beta1) * slope);
    momentum[at] = beta2 * before + (1 - beta2) * slope;
  }
}

/** As Math.sign, without branches that a processor cannot guess: a third of the time. */
function signOf(value: number): number {
  return value / Math.max(Math.abs(value), Number.MIN_VALUE);
}
