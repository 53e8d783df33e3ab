/** Progress: one fraction that only grows, from 0 to 1, in order of the phases. */
import { describe, expect, test } from 'vitest';
import { stepsToRun } from '../../../../services/engine/pipeline/plan.js';
import { type ProgressEvent, ProgressMeter } from '../../../../services/engine/pipeline/progress.js';

function played(): ProgressEvent[] {
  const events: ProgressEvent[] = [];
  const meter = new ProgressMeter([{ method: 'clean-up' }, { method: 'dynamic-int8' }], (event) => events.push(event));
  for (const phase of ['decode', 'clean-up', 'dynamic-int8', 'verify', 'measure', 'report'] as const) {
    meter.begin(phase, phase);
    for (let step = 0; step <= 1000; step++) meter.within(step / 1000, phase);
    meter.within(7, phase);
  }
  meter.end();
  meter.within(0, 'done');
  return events;
}

describe('ProgressMeter', () => {
  test('the fraction starts at 0, never falls, and ends at 1 with nothing left', () => {
    const events = played();
    expect(events[0]).toMatchObject({ phase: 'decode', fraction: 0, eta_s: null });
    for (const [index, event] of events.entries()) expect(event.fraction).toBeGreaterThanOrEqual(events[index - 1]?.fraction ?? 0);
    expect(events.at(-1)).toMatchObject({ fraction: 1, eta_s: 0, message: 'done' });
  });

  test('a listener is not told of every thousandth', () => {
    expect(played().length).toBeLessThan(130);
  });
});

describe('stepsToRun', () => {
  test('clean-up comes first unless the plan begins with it', () => {
    expect(stepsToRun({ steps: [{ method: 'dynamic-int8' }] }).map((step) => step.method)).toEqual(['clean-up', 'dynamic-int8']);
    expect(stepsToRun({ steps: [{ method: 'clean-up' }, { method: 'dynamic-int8' }] })).toHaveLength(2);
  });

  test('a plan without steps is refused', () => {
    expect(() => stepsToRun({ steps: [] })).toThrow(expect.objectContaining({ code: 'recipe_invalid' }));
  });

  test('a recovery that learns from labels is refused where no metric judges it', () => {
    const lowering = (kind: 'mse' | 'teacher-values') =>
      ({ method: 'precision-lowering', recovery: { losses: [{ kind: 'teacher-mae' }, { kind }] } }) as const;
    const plan = (kind: 'mse' | 'teacher-values', gate: object) => ({ steps: [{ method: 'clean-up' } as const, lowering(kind)], gate });
    expect(() => stepsToRun(plan('mse', { min_sqnr_db: 20 }))).toThrow(expect.objectContaining({ code: 'recipe_invalid' }));
    expect(stepsToRun(plan('mse', { max_metric_drop: 0 }))).toHaveLength(2);
    expect(stepsToRun(plan('teacher-values', {}))).toHaveLength(2);
  });
});
