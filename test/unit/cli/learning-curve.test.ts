/** The learning curve in the summary: few lines, the last point always among them. */
import { describe, expect, it } from 'vitest';
import { learningCurves } from '../../../services/cli/learning-curve.js';
import type { TrainingSummary } from '../../../services/engine/method.js';
import { sampleReport } from '../../support/sample-report.js';

const training = (over: Partial<TrainingSummary> = {}): TrainingSummary => ({
  method: 'distill',
  losses: ['kd', 'cross-entropy'],
  steps: 1200,
  resumed_at: 0,
  seconds: 60,
  steps_per_second: 20,
  parameters: 9156,
  curve: Array.from({ length: 200 }, (_, at) => ({ epoch: (at + 1) / 50, step: 6 * (at + 1), loss: 1 / (at + 1), learning_rate: 1e-3 })),
  ...over,
});
const linesOf = (...each: TrainingSummary[]) => learningCurves(sampleReport({ training: each })).flatMap((text) => text.split('\n'));

describe('learningCurves', () => {
  it('says what was trained, and shows six points of two hundred with the last one', () => {
    const lines = linesOf(training());
    expect(lines[0]).toBe('distill: kd + cross-entropy, 9,156 parameters, 1,200 steps in 60.0 s (20.0 steps/s)');
    expect(lines).toHaveLength(2 + 6);
    expect(lines.at(-1)).toMatch(/^ {2}4\.0 +0\.00500 +1\.0e-3$/);
  });

  it('has a column for accuracy where there is one, and all points of a short run', () => {
    const curve = [{ epoch: 1, step: 3, loss: 0.5, accuracy: 0.75, learning_rate: 0.1 }];
    expect(linesOf(training({ curve })).slice(1)).toEqual([
      '  epoch   loss  accuracy  learning rate',
      '  1.0    0.500   75.00 %         1.0e-1',
    ]);
  });

  it('names the step that a killed run went on from, and is silent where nothing learned', () => {
    expect(linesOf(training({ resumed_at: 700 }))[0]).toContain('resumed at step 700');
    expect(linesOf()).toEqual([]);
  });

  it('counts the channels that a regularizer brought near zero', () => {
    const regularizer = { kind: 'slimming', strength: 0.001, units: 112, near_zero: 40 };
    expect(linesOf(training({ regularizer }))[0]).toContain('; slimming 0.001: 40 of 112 channels near zero');
  });
});
