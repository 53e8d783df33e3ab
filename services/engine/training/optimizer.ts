/** Moves parameters against their gradients, in typed arrays: what a step leaves is all that the next one depends on. */
import { EngineError } from '../engine-errors.js';
import { copyArrays, type TrainingState } from './training-state.js';
import { type AdamOptions, adamRule } from './update-rules/adam.js';
import { type LionOptions, lionRule } from './update-rules/lion.js';
import { type SgdOptions, sgdRule } from './update-rules/stochastic-gradient-descent.js';
import type { UpdateRule } from './update-rules/update-rule.js';

export type OptimizerOptions = SgdOptions | AdamOptions | LionOptions;

export interface ParameterSpec {
  readonly name: string;
  /** Number of values. */
  readonly length: number;
  /** False for biases, normalizations and quantization scales: weight decay leaves them alone. */
  readonly decays: boolean;
  /** Factor on the learning rate of this parameter; default 1. */
  readonly learningRateScale?: number;
}

export interface Optimizer {
  /**
   * Moves each parameter that has a gradient, in place; one without stays as it is and its step is not counted, as in PyTorch.
   * Throws RangeError when a parameter is missing or a length is not that of its spec.
   */
  step(parameters: ReadonlyMap<string, Float32Array>, gradients: ReadonlyMap<string, Float32Array>, learningRate: number): void;
  state(): TrainingState;
  /** Copies. Throws RangeError when `state` is not of an optimizer with these options and parameters. */
  restore(state: TrainingState): void;
}

/** Throws EngineError `recipe_invalid` for options that no rule can work with. */
export function createOptimizer(options: OptimizerOptions, parameters: readonly ParameterSpec[]): Optimizer {
  const rule = ruleOf(options);
  if (!(rule.weightDecay >= 0 && rule.weightDecay < Number.POSITIVE_INFINITY))
    throw new EngineError('recipe_invalid', `weightDecay must be at least 0, not ${rule.weightDecay}.`);
  return new RuleOptimizer(rule, parameters);
}

function ruleOf(options: OptimizerOptions): UpdateRule {
  switch (options.name) {
    case 'sgd':
      return sgdRule(options);
    case 'adam':
    case 'adamw':
      return adamRule(options);
    case 'lion':
      return lionRule(options);
    default:
      return options satisfies never;
  }
}

interface Slot extends ParameterSpec {
  readonly buffers: readonly Float32Array[];
  step: number;
}

class RuleOptimizer implements Optimizer {
  private readonly slots: readonly Slot[];

  constructor(
    private readonly rule: UpdateRule,
    parameters: readonly ParameterSpec[],
  ) {
    this.slots = parameters.map((spec) => ({ ...spec, buffers: rule.buffers.map(() => new Float32Array(spec.length)), step: 0 }));
  }

  step(parameters: ReadonlyMap<string, Float32Array>, gradients: ReadonlyMap<string, Float32Array>, learningRate: number): void {
    for (const slot of this.slots) {
      const gradient = gradients.get(slot.name);
      if (!gradient) continue;
      const values = parameters.get(slot.name);
      if (values?.length !== slot.length || gradient.length !== slot.length)
        throw new RangeError(
          `step: "${slot.name}" has ${slot.length} values; got ${values?.length} and ${gradient.length} of the gradient`,
        );
      slot.step += 1;
      this.rule.update({
        ...{ values, gradient, buffers: slot.buffers, step: slot.step },
        learningRate: learningRate * (slot.learningRateScale ?? 1),
        weightDecay: slot.decays ? this.rule.weightDecay : 0,
      });
    }
  }

  state(): TrainingState {
    return { arrays: this.arrays(), counters: new Map(this.slots.map(({ name, step }) => [name, step])) };
  }

  restore({ arrays, counters }: TrainingState): void {
    const steps = this.slots.map(({ name }) => {
      const step = counters.get(name);
      if (step === undefined) throw new RangeError(`restore: the state has no steps of "${name}"`);
      return step;
    });
    copyArrays(arrays, this.arrays());
    for (const [at, slot] of this.slots.entries()) slot.step = steps[at] ?? 0;
  }

  /** By `<buffer>/<parameter>`. */
  private arrays(): Map<string, Float32Array> {
    const named = this.slots.flatMap(({ name, buffers }) =>
      buffers.map((values, at) => [`${this.rule.buffers[at]}/${name}`, values] as const),
    );
    return new Map(named);
  }
}
