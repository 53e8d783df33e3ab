/** Lion: steps of one size, in the direction of the sign of the momentum. */
import { blended, nth, requireDecay, requireShares, type Update, type UpdateRule, type UpdateScope } from './update-rule.js';

export interface LionOptions {
  readonly name: 'lion';
  /** Shares of the momentum in the direction and in what is kept of it; default 0.9 and 0.99. */
  readonly betas?: readonly [number, number];
  /** Default 0; decoupled. */
  readonly weightDecay?: number;
}

export function lionRule({ betas = [0.9, 0.99], weightDecay = 0 }: LionOptions): UpdateRule {
  requireShares('betas', betas);
  requireDecay(weightDecay);
  return {
    buffers: ['momentum'],
    rates: ['learning_rate', 'kept'],
    ratesAt: (_step, learningRate) => [learningRate, 1 - learningRate * weightDecay],
    write: (scope) => descendBySign(scope, betas),
  };
}

/** p = p (1 - lr wd) - lr sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g (Chen and others 2023, algorithm 2). */
function descendBySign({ write, value, gradient, buffers, rates, decays }: UpdateScope, [beta1, beta2]: readonly [number, number]): Update {
  const momentum = nth(buffers, 0);
  const sign = write.node('Sign', [blended(write, beta1, momentum, gradient)]);
  const kept = decays ? write.node('Mul', [value, nth(rates, 1)]) : value;
  const moved = write.node('Sub', [kept, write.node('Mul', [sign, nth(rates, 0)])]);
  return { value: moved, buffers: [blended(write, beta2, momentum, gradient)] };
}
