/**
 * The step of the optimizer as nodes of the training graph: parameters and what the rule remembers of them go in and come out moved.
 * The runtime moves them on all cores while the gradients are still in its caches, and no gradient is copied out.
 */
import type { GraphWriter, Value } from '../ir/index.js';
import { clippedByGlobalNorm } from './gradient-clipping.js';
import type { Parameter } from './trainable-model.js';
import { type AdamOptions, adamRule } from './update-rules/adam.js';
import { type LionOptions, lionRule } from './update-rules/lion.js';
import { type SgdOptions, sgdRule } from './update-rules/stochastic-gradient-descent.js';
import type { UpdateRule } from './update-rules/update-rule.js';

export type OptimizerOptions = SgdOptions | AdamOptions | LionOptions;

export interface UpdateOptions {
  readonly optimizer: OptimizerOptions;
  /** Largest global norm of the gradients. */
  readonly clipNorm?: number;
}

/** A tensor of float32 that every step reads and writes anew. */
export interface MovingTensor {
  /** `parameter/<name>`, `<buffer>/<name>`. */
  readonly key: string;
  readonly dims: readonly number[];
  /** Names of the graph input that takes it and of the graph output that holds it after the step. */
  readonly input: string;
  readonly output: string;
  /** What the first step reads. */
  readonly initial: Float32Array;
}

export interface OptimizerStep {
  /** The trained parameters, then what is remembered of them. */
  readonly moving: readonly MovingTensor[];
  /** Graph inputs that hold one number each, in step `step`, counted from 1. */
  ratesAt(step: number, learningRate: number): ReadonlyMap<string, number>;
}

export interface TrainedParameter {
  readonly parameter: Parameter;
  /** The graph input of the parameter. */
  readonly value: Value;
  /** dL/dvalue. */
  readonly gradient: Value;
}

/** What the step adds to the border of the graph. */
export interface OptimizerBorder {
  input(name: string, dims: readonly number[]): Value;
  output(value: Value): void;
}

/** Throws EngineError `recipe_invalid` for options that no rule can work with. */
export function writeOptimizerStep(
  write: GraphWriter,
  { trained, options, border }: { trained: readonly TrainedParameter[]; options: UpdateOptions; border: OptimizerBorder },
): OptimizerStep {
  const rule = ruleOf(options.optimizer);
  const rates = rule.rates.map((name) => border.input(`optimizer/${name}`, []));
  const plain = trained.map(({ gradient }) => gradient);
  const gradients = options.clipNorm === undefined ? plain : clippedByGlobalNorm(write, plain, options.clipNorm);
  const moved = trained.map(({ parameter, value }, at) => {
    const { name, dims, values, role } = parameter;
    const buffers = rule.buffers.map((buffer) => border.input(`${buffer}/${name}`, dims));
    const update = rule.write({ write, value, gradient: gradients[at] as Value, buffers, rates, decays: role === 'weight' });
    const moving = (key: string, input: Value, output: Value, initial: Float32Array): MovingTensor => {
      border.output(output);
      return { key, dims, input: input.name, output: output.name, initial };
    };
    return {
      parameter: moving(`parameter/${name}`, value, update.value, values),
      buffers: buffers.map((input, index) =>
        moving(`${rule.buffers[index]}/${name}`, input, update.buffers[index] as Value, new Float32Array(values.length)),
      ),
    };
  });
  return {
    moving: [...moved.map(({ parameter }) => parameter), ...moved.flatMap(({ buffers }) => buffers)],
    ratesAt: (step, learningRate) => {
      const numbers = rule.ratesAt(step, learningRate);
      /** Where nothing decays, nobody reads the rate of the decay. */
      return new Map(rates.flatMap(({ name, isRead }, at) => (isRead ? [[name, numbers[at] ?? Number.NaN]] : [])));
    },
  };
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
