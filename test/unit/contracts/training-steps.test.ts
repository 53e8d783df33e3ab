/** The steps that learn: what a recipe may say of them, and that the engine takes every word of it. */
import { Value } from 'typebox/value';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { CompressionRecipe, type CompressionStep, methods, needsGivenTeacher, needsJudgedRecovery } from '#contracts';
import type { CompressionPlan } from '#engine';
import type { QatOptions } from '../../../services/engine/qat/index.js';
import { type DistillOptions, readsLabels } from '../../../services/engine/training/index.js';

type Frozen<T> = T extends object ? { readonly [Key in keyof T]: Frozen<T[Key]> } : T;
type QatStep = Extract<CompressionStep, { method: 'qat' }>;
type DistillStep = Extract<CompressionStep, { method: 'distill' }>;

describe('steps that learn', () => {
  it('are what the engine takes, and nothing that it takes is left out', () => {
    expectTypeOf<CompressionRecipe>().toExtend<CompressionPlan>();
    expectTypeOf<keyof Omit<DistillStep, 'method'>>().toEqualTypeOf<keyof DistillOptions>();
    expectTypeOf<keyof Omit<QatStep, 'method'>>().toEqualTypeOf<keyof QatOptions>();
    expectTypeOf<QatOptions>().toExtend<Frozen<Omit<QatStep, 'method'>>>();
    expectTypeOf<DistillOptions>().toExtend<Frozen<Omit<DistillStep, 'method'>>>();
  });

  it('take every option together', () => {
    const step = {
      method: 'distill',
      teacher: 'given',
      epochs: 3,
      batch_size: 64,
      seed: 7,
      optimizer: { name: 'sgd', momentum: 0.9, nesterov: true, weight_decay: 5e-4 },
      learning_rate: 0.1,
      schedule: { name: 'one-cycle', rise_share: 0.3 },
      warm_up_steps: 10,
      clip_norm: 1,
      average_decay: 0.999,
      augmentation: [
        { name: 'flip' },
        { name: 'crop', padding: 4 },
        { name: 'cutout', size: 8 },
        { name: 'mixup', alpha: 0.2 },
        { name: 'jitter', steps: 3 },
        { name: 'noise', deviation: 0.1 },
      ],
      trainable: ['*'],
      frozen: ['conv1.*'],
      batch_normalization: 'fixed',
      task: 'classification',
      regularizer: { kind: 'slimming', strength: 0.001 },
      losses: [
        { kind: 'cross-entropy', weight: 0.5 },
        { kind: 'kd', temperature: 4, standardize: true },
        { kind: 'dkd', alpha: 1, beta: 8 },
        { kind: 'huber', delta: 2, output: 1 },
        { kind: 'attention', student: '/layer1', teacher: '/layer1' },
        { kind: 'similarity' },
        { kind: 'dist', temperature: 2, inter: 1, intra: 2 },
        { kind: 'quantile', quantiles: [0.1, 0.5, 0.9] },
        { kind: 'teacher-frequency', weight: 0.1 },
        { kind: 'relation-angles' },
        { kind: 'attention-map' },
        { kind: 'value-relation', heads: 4 },
      ],
    };
    expect([...Value.Errors(methods.distill.schema, step)]).toEqual([]);
  });

  it.each([
    { epochs: 0 },
    { epochs: 1.5 },
    { batch_size: 0 },
    { learning_rate: 0 },
    { seed: -1 },
    { average_decay: 1 },
    { clip_norm: 0 },
    { optimizer: { name: 'adamw', betas: [0.9, 1] } },
    { optimizer: { name: 'sgd', momentum: 1 } },
    { schedule: { name: 'step', at: [] } },
    { augmentation: [{ name: 'mixup', alpha: 3 }] },
    { regularizer: {} },
    { regularizer: { kind: 'group-lasso', strength: 0 } },
    { losses: [] },
    { losses: [{ kind: 'kd', temperature: 0 }] },
    { losses: [{ kind: 'feature', student: '' }] },
    { losses: [{ kind: 'quantile' }] },
    { losses: [{ kind: 'quantile', quantiles: [0.5, 1] }] },
    { losses: [{ kind: 'similarity', heads: 2 }] },
  ])('refuse $0', (fault) => {
    expect(Value.Check(methods['fine-tune'].schema, { method: 'fine-tune', ...fault })).toBe(false);
  });

  it('say whether the job must bring a teacher', () => {
    expect(needsGivenTeacher({ method: 'distill', teacher: 'given' })).toBe(true);
    expect(needsGivenTeacher({ method: 'distill' })).toBe(false);
    expect(needsGivenTeacher({ method: 'train' })).toBe(false);
  });

  it('say of the same losses as the engine that they read labels', () => {
    const taught = { quantile: { quantiles: [0.5] } } as const;
    for (const [kind, isRead] of Object.entries(readsLabels)) {
      const step = { method: 'precision-lowering', recovery: { losses: [{ kind, ...(kind === 'quantile' ? taught.quantile : {}) }] } };
      const [parsed] = Value.Parse(CompressionRecipe, { steps: [step] }).steps;
      expect([kind, parsed && needsJudgedRecovery(parsed)]).toEqual([kind, isRead]);
    }
  });
});
