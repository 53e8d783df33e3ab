/** Stochastic gradient descent with momentum, Nesterov's too. */
import { EngineError } from '../../engine-errors.js';
import { nth, requireDecay, requireShares, slopeWithDecay, type Update, type UpdateRule, type UpdateScope } from './update-rule.js';

export interface SgdOptions {
  readonly name: 'sgd';
  /** 0 to below 1, default 0: share of the velocity that a step keeps. */
  readonly momentum?: number;
  /** Needs a momentum. */
  readonly nesterov?: boolean;
  /** Default 0; added to the gradient (L2). */
  readonly weightDecay?: number;
}

export function sgdRule({ momentum = 0, nesterov = false, weightDecay = 0 }: SgdOptions): UpdateRule {
  requireShares('momentum', [momentum]);
  requireDecay(weightDecay);
  if (nesterov && momentum === 0) throw new EngineError('recipe_invalid', 'Nesterov momentum needs a momentum above 0.');
  return {
    buffers: momentum === 0 ? [] : ['velocity'],
    rates: ['learning_rate'],
    ratesAt: (_step, learningRate) => [learningRate],
    write: (scope) => descend(scope, { momentum, nesterov, weightDecay }),
  };
}

/**
 * s = g + wd p; v = momentum v + s; p = p - lr v, and p - lr (s + momentum v) for Nesterov (torch.optim.SGD, dampening 0: its first
 * velocity is the gradient, as from v = 0; Sutskever and others 2013).
 */
function descend(
  scope: UpdateScope,
  { momentum, nesterov, weightDecay }: { momentum: number; nesterov: boolean; weightDecay: number },
): Update {
  const { write, value, buffers, rates } = scope;
  const slope = slopeWithDecay(scope, weightDecay);
  const moved = (direction: typeof slope) => write.node('Sub', [value, write.node('Mul', [direction, nth(rates, 0)])]);
  if (momentum === 0) return { value: moved(slope), buffers: [] };
  const share = write.float(momentum);
  const velocity = write.node('Add', [write.node('Mul', [nth(buffers, 0), share]), slope]);
  const direction = nesterov ? write.node('Add', [slope, write.node('Mul', [velocity, share])]) : velocity;
  return { value: moved(direction), buffers: [velocity] };
}
