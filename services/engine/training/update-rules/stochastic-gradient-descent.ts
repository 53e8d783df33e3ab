/** Stochastic gradient descent with momentum, Nesterov's too. */
import { EngineError } from '../../engine-errors.js';
import { bufferOf, type ParameterUpdate, requireShares, type UpdateRule } from './update-rule.js';

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
  if (nesterov && momentum === 0) throw new EngineError('recipe_invalid', 'Nesterov momentum needs a momentum above 0.');
  if (momentum === 0) return { buffers: [], weightDecay, update: descend };
  const lookAhead = nesterov ? descendAhead : descendByVelocity;
  return { buffers: ['velocity'], weightDecay, update: (update) => lookAhead(update, momentum) };
}

/** p = p - lr (g + wd p). */
function descend({ values, gradient, learningRate, weightDecay }: ParameterUpdate): void {
  for (let at = 0; at < values.length; at++) {
    const value = values[at] ?? 0;
    values[at] = value - learningRate * ((gradient[at] ?? 0) + weightDecay * value);
  }
}

/** v = momentum v + g + wd p; p = p - lr v (torch.optim.SGD, dampening 0; its first velocity is the gradient, as from v = 0). */
function descendByVelocity(update: ParameterUpdate, momentum: number): void {
  const { values, gradient, learningRate, weightDecay } = update;
  const velocity = bufferOf(update, 0);
  for (let at = 0; at < values.length; at++) {
    const value = values[at] ?? 0;
    const next = momentum * (velocity[at] ?? 0) + (gradient[at] ?? 0) + weightDecay * value;
    velocity[at] = next;
    values[at] = value - learningRate * next;
  }
}

/** v as above; p = p - lr (g + wd p + momentum v) (torch.optim.SGD, nesterov; Sutskever and others 2013). */
function descendAhead(update: ParameterUpdate, momentum: number): void {
  const { values, gradient, learningRate, weightDecay } = update;
  const velocity = bufferOf(update, 0);
  for (let at = 0; at < values.length; at++) {
    const value = values[at] ?? 0;
    const slope = (gradient[at] ?? 0) + weightDecay * value;
    const next = momentum * (velocity[at] ?? 0) + slope;
    velocity[at] = next;
    values[at] = value - learningRate * (slope + momentum * next);
  }
}
