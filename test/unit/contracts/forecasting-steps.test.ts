/** The step that quantizes forecasters: what a recipe may say of it, and that the engine takes every word of it. */
import { Value } from 'typebox/value';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { type CompressionRecipe, type CompressionStep, methods } from '#contracts';
import type { CompressionPlan } from '#engine';
import type { DistributionAwareOptions } from '../../../services/engine/distribution-aware/index.js';

type Frozen<T> = T extends object ? { readonly [Key in keyof T]: Frozen<T[Key]> } : T;
type Step = Extract<CompressionStep, { method: 'distribution-aware' }>;

describe('distribution-aware', () => {
  it('is what the engine takes, and nothing that it takes is left out', () => {
    expectTypeOf<CompressionRecipe>().toExtend<CompressionPlan>();
    expectTypeOf<keyof Omit<Step, 'method'>>().toEqualTypeOf<keyof DistributionAwareOptions>();
    expectTypeOf<DistributionAwareOptions>().toExtend<Frozen<Omit<Step, 'method'>>>();
  });

  it('takes every option together', () => {
    const step = {
      ...{ method: 'distribution-aware', bits: 4, tensor_bits: { cell: 8, weights: 5 }, allocation: 'sensitivity', distance: 'kl' },
      ...{ per_channel: true, ranges: 'searched', correct_biases: true, refit_head: false, integer_kernels: 'measure' },
      training: { epochs: 2, batch_size: 32, learning_rate: 0.001, seed: 1, clip_norm: 1, losses: [{ kind: 'huber' }] },
      ...{ samples: 256, exclude: ['head*'] },
    };
    expect([...Value.Errors(methods['distribution-aware'].schema, step)]).toEqual([]);
  });

  it.each([
    { bits: 2 },
    { bits: 9 },
    { tensor_bits: { state: 4 } },
    { distance: 'mse' },
    { ranges: 'minmax' },
    { samples: 0 },
    { training: { epochs: 0 } },
  ])('refuses %o', (wrong) => {
    expect(Value.Check(methods['distribution-aware'].schema, { method: 'distribution-aware', ...wrong })).toBe(false);
  });
});
