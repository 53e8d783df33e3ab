/** An exponential moving average of the weights: what is exported when a run asks for it. */
import { copyArrays, type TrainingState } from './training-state.js';

const COUNTER = 'updates';

export class MovingAverage {
  private readonly averages: ReadonlyMap<string, Float32Array>;
  private updates = 0;

  /** Begins at `parameters`. `decay`: share of the average that one update keeps, 0 to below 1. */
  constructor(
    parameters: ReadonlyMap<string, Float32Array>,
    private readonly decay: number,
  ) {
    this.averages = new Map([...parameters].map(([name, values]) => [name, values.slice()]));
  }

  /**
   * a = d a + (1 - d) p with d = min(decay, (1 + t) / (10 + t)), t the updates before this one: the beginning, far from
   * the goal, is forgotten fast (tf.train.ExponentialMovingAverage, num_updates).
   */
  update(parameters: ReadonlyMap<string, Float32Array>): void {
    const decay = Math.min(this.decay, (1 + this.updates) / (10 + this.updates));
    for (const [name, average] of this.averages) {
      const values = parameters.get(name);
      if (values?.length !== average.length)
        throw new RangeError(`update: "${name}" has ${average.length} values, got ${values?.length ?? 'none'}`);
      blend(average, values, decay);
    }
    this.updates += 1;
  }

  /** Views: they move with the next update. */
  get values(): ReadonlyMap<string, Float32Array> {
    return this.averages;
  }

  state(): TrainingState {
    return { arrays: this.averages, counters: new Map([[COUNTER, this.updates]]) };
  }

  /** Copies. Throws RangeError when `state` is not of these parameters. */
  restore({ arrays, counters }: TrainingState): void {
    const updates = counters.get(COUNTER);
    if (updates === undefined) throw new RangeError('restore: the state has no updates');
    copyArrays(arrays, this.averages);
    this.updates = updates;
  }
}

function blend(average: Float32Array, values: Float32Array, decay: number): void {
  for (let at = 0; at < average.length; at++) average[at] = decay * (average[at] ?? 0) + (1 - decay) * (values[at] ?? 0);
}
