/** Accelerators in recipes: the names are those of the engine, its profiles fit the schema, and faults are refused. */
import { Value } from 'typebox/value';
import { expect, expectTypeOf, it } from 'vitest';
import { AcceleratorProfile, acceleratorNames, CompressionRecipe, type CompressionStep } from '#contracts';
import { type CompressionPlan, type AcceleratorProfile as EngineProfile, shippedProfiles } from '#engine';
import type { ActivationCompressionOptions } from '../../../services/engine/activation-compression/index.js';
import type { CrossLayerScalingOptions, PrecisionLoweringOptions } from '../../../services/engine/precision/index.js';

const recipe = (target: unknown) => ({ steps: [{ method: 'clean-up' }], target });

it('names the shipped profiles, each of which fits the schema', () => {
  expect(shippedProfiles.map(({ name }) => name)).toEqual([...acceleratorNames]);
  for (const profile of shippedProfiles) expect([...Value.Errors(AcceleratorProfile, profile)]).toEqual([]);
});

it('takes a name, a profile or a processor as target', () => {
  for (const target of ['x64-vnni', { accelerator: 'ethos-u' }, { accelerator: shippedProfiles[1] }])
    expect([...Value.Errors(CompressionRecipe, recipe(target))]).toEqual([]);
});

it('refuses an unknown name, and a profile with a hole', () => {
  const { words: _, ...holed } = shippedProfiles[0] as EngineProfile;
  for (const target of [{ accelerator: 'abacus' }, { accelerator: holed }, { accelerator: 'ethos-u', speed: 1 }, 'ethos-u'])
    expect(Value.Check(CompressionRecipe, recipe(target))).toBe(false);
});

it('is what the engine takes, and nothing that it takes is left out', () => {
  expectTypeOf<CompressionRecipe>().toExtend<CompressionPlan>();
  expectTypeOf<AcceleratorProfile>().toExtend<EngineProfile>();
  type Step = Extract<CompressionStep, { method: 'activation-compression' }>;
  expectTypeOf<keyof Omit<Step, 'method'>>().toEqualTypeOf<keyof ActivationCompressionOptions>();
  type Scaling = Extract<CompressionStep, { method: 'cross-layer-scaling' }>;
  expectTypeOf<keyof Omit<Scaling, 'method'>>().toEqualTypeOf<keyof CrossLayerScalingOptions>();
  type Lowering = Extract<CompressionStep, { method: 'precision-lowering' }>;
  expectTypeOf<keyof Omit<Lowering, 'method'>>().toEqualTypeOf<keyof PrecisionLoweringOptions>();
});
