/** The moving average of the weights against its definition, and resumed from its state. */
import { expect, test } from 'vitest';
import { MovingAverage } from '../../../../services/engine/training/moving-average.js';

const weights = (...values: number[]) => new Map([['w', Float32Array.from(values)]]);

test('a = d a + (1 - d) p, with a decay that grows to the given one', () => {
  const average = new MovingAverage(weights(1, -2), 0.5);
  let [first, second] = [1, -2];
  for (let t = 0; t < 30; t++) {
    average.update(weights(t, 2 * t));
    const decay = Math.min(0.5, (1 + t) / (10 + t));
    first = decay * first + (1 - decay) * t;
    second = decay * second + (1 - decay) * 2 * t;
  }
  expect(average.values.get('w')?.[0]).toBeCloseTo(first, 4);
  expect(average.values.get('w')?.[1]).toBeCloseTo(second, 4);
});

test('the average is its own copy, and equals weights that stand still', () => {
  const still = weights(0.1, 0.7);
  const average = new MovingAverage(still, 0.9);
  for (let t = 0; t < 5; t++) average.update(still);
  expect(average.values.get('w')?.[0]).toBeCloseTo(0.1, 6);
  still.get('w')?.fill(9);
  expect(average.values.get('w')?.[0]).toBeCloseTo(0.1, 6);
});

test('restored in another one it goes on with the same bits', () => {
  const whole = new MovingAverage(weights(1, 2), 0.99);
  const begun = new MovingAverage(weights(1, 2), 0.99);
  for (let t = 0; t < 4; t++) for (const each of [whole, begun]) each.update(weights(t, Math.sin(t)));
  const resumed = new MovingAverage(weights(5, 5), 0.99);
  resumed.restore(begun.state());
  for (let t = 4; t < 9; t++) for (const each of [whole, resumed]) each.update(weights(t, Math.sin(t)));
  expect(resumed.values).toEqual(whole.values);
});

test('weights and states of another size are refused', () => {
  const average = new MovingAverage(weights(1, 2), 0.9);
  expect(() => average.update(weights(1))).toThrow(RangeError);
  expect(() => average.restore(new MovingAverage(weights(1), 0.9).state())).toThrow(RangeError);
  expect(() => average.restore({ arrays: average.values, counters: new Map() })).toThrow(RangeError);
});
