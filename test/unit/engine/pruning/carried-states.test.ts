/** Memories of models: told by the samples, or by their names; units that live there can go, and the interface stays. */
import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, float32Tensor, type Model, verifyModel } from '../../../../services/engine/ir/index.js';
import type { MethodContext, RunSource } from '../../../../services/engine/method.js';
import { carriedStates } from '../../../../services/engine/pruning/carried-states.js';
import { structuredPruning } from '../../../../services/engine/pruning/index.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch } from '../quantization/method-fixtures.js';

afterAll(removeScratch);

const units = 16;

/** y = V relu(W x + U s), the sum being the next state. */
function recurrentModel(input: string, output: string): Model {
  const builder = new ModelBuilder();
  const x = builder.node('MatMul', [builder.input('x', [1, 4]), builder.constant('w', noise([4, units], 1))]);
  const s = builder.node('MatMul', [builder.input(input, [1, units]), builder.constant('u', noise([units, units], 2))]);
  const next = builder.node('Relu', [builder.node('Add', [x, s])]);
  const y = builder.node('MatMul', [next, builder.constant('v', noise([units, 3], 3))]);
  next.name = output;
  return builder.output(y, [1, 3]).output(next, [1, units]).model;
}

const samples: RunSource = { sampleCount: 0, fixedBatch: 1, sampleBytes: 16, async *runs() {} };

describe('carriedStates', () => {
  it.each([
    ['state', 'stateN'],
    ['conv_cache', 'conv_cache_out'],
    ['h0', 'hn'],
    ['past_memory', 'present_memory'],
  ])('pairs %s with %s by name where there are no samples', (input, output) => {
    expect(carriedStates(recurrentModel(input, output), {})).toEqual([{ input, output }]);
  });

  it.each([
    ['image_in', 'image_out'],
    ['input', 'output'],
  ])('does not take %s and %s for a state', (input, output) => {
    expect(carriedStates(recurrentModel(input, output), {})).toEqual([]);
  });

  it('believes the samples, which carry a state or do not', () => {
    const model = recurrentModel('z', 'q');
    const states = [{ input: 'z', output: 'q' }];
    expect(carriedStates(model, { calibration: { ...samples, states } })).toEqual(states);
    expect(carriedStates(recurrentModel('state', 'stateN'), { calibration: samples })).toEqual([]);
  });
});

/** A GRU that reads and returns its states. */
function gruModel(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', [1, 1, 4]);
  const state = builder.input('state', [1, 1, units]);
  const weights = [builder.constant('w', noise([1, 3 * units, 4], 1)), builder.constant('r', noise([1, 3 * units, units], 2))];
  builder.node('GRU', [x, ...weights, null, null, state], { hidden_size: attributeOf.int(units) }, 2);
  const next = builder.graph.nodes.at(-1)?.outputs[1];
  if (!next) throw new Error('the GRU has no states');
  next.name = 'stateN';
  const y = builder.node('MatMul', [next, builder.constant('v', noise([units, 3], 3))]);
  return builder.output(y, [1, 1, 3]).output(next, [1, 1, units]).model;
}

describe('structured pruning of a model with a memory', () => {
  it('takes units out of the memory; inputs and outputs keep their shapes', async () => {
    const model = gruModel();
    const feeds = { x: noise([1, 1, 4], 7), state: float32Tensor([1, 1, units], new Float32Array(units)) };
    const context: MethodContext = { ...contextFor('measured'), objective: 'size', sample: new Map(Object.entries(feeds)) };
    const { budgets } = await structuredPruning(model, { budget: { macs: 0.5 }, criterion: 'l2', round_to: 1, min_channels: 1 }, context);
    verifyModel(model);
    expect(budgets?.[0]?.accepted).toBe(true);
    const [y, next] = await outputsOf(model, feeds);
    expect([y?.length, next?.length]).toEqual([3, units]);
  });
});
