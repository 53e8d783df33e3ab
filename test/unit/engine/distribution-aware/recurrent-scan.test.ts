/** A layer taken apart into a loop over its cell computes what the operator computes. */
import { afterAll, describe, expect, test } from 'vitest';
import { observedForm } from '../../../../services/engine/distribution-aware/point-form.js';
import { planQuantization } from '../../../../services/engine/distribution-aware/quantization-plan.js';
import { rewriteGraph } from '../../../../services/engine/distribution-aware/rewritten-graph.js';
import { attributeOf, cloneModel, GraphWriter, type Model, NameAuthority, verifyModel } from '../../../../services/engine/ir/index.js';
import { noise, operators, outputsOf, removeScratch } from '../quantization/method-fixtures.js';
import { FEATURES, forecaster, HIDDEN, type LayerForm, layerModel, STEPS } from './forecaster-fixtures.js';

afterAll(removeScratch);

const planOptions = { perChannel: true, exclude: [], rounding: 'mse' } as const;

/** With every point as it is. */
function takenApart(model: Model): { model: Model; seen: string[] } {
  const copy = cloneModel(model);
  const seen: string[] = [];
  const plan = planQuantization(copy, planOptions);
  const names = new NameAuthority(copy);
  rewriteGraph(plan, { model: copy, names, write: new GraphWriter(copy, names), form: observedForm(({ id }) => seen.push(id)) });
  verifyModel(copy);
  return { model: copy, seen };
}

const forms: LayerForm[] = (['forward', 'reverse', 'bidirectional'] as const).flatMap((direction) => [
  { kind: 'LSTM', direction },
  { kind: 'LSTM', direction, states: true },
  { kind: 'GRU', direction },
  { kind: 'GRU', direction, resetAfter: true, states: true },
]);

describe('a recurrent layer as a loop over its cell', () => {
  test.each([...forms, { kind: 'LSTM', direction: 'forward', bias: false } as const])('%o', async (form) => {
    const model = layerModel(form);
    const directions = form.direction === 'bidirectional' ? 2 : 1;
    const feeds = {
      x: noise([STEPS, 5, FEATURES], 20),
      ...(form.states ? { h0: noise([directions, 5, HIDDEN], 21) } : {}),
      ...(form.states && form.kind === 'LSTM' ? { c0: noise([directions, 5, HIDDEN], 22) } : {}),
    };
    const { model: apart } = takenApart(model);
    expect(operators(apart)).not.toContain(form.kind);
    expect(apart.graph.outputs.map(({ name }) => name)).toEqual(model.graph.outputs.map(({ name }) => name));
    const expected = await outputsOf(model, feeds);
    const found = await outputsOf(apart, feeds);
    for (const [at, values] of expected.entries()) {
      expect(found[at]?.length).toBe(values.length);
      for (const [place, value] of values.entries()) expect(found[at]?.[place]).toBeCloseTo(value, 5);
    }
  });

  test('with attention behind it: every tensor between the weights is a point', async () => {
    const { model, seen } = takenApart(forecaster());
    expect(seen.map((id) => id.replace(/^[A-Za-z]+_\d+ /, ''))).toEqual([
      ...['output', 'output', 'output', 'scores', 'probabilities', 'output'],
      ...['input', 'gates', 'cell', 'hidden'],
    ]);
    const x = noise([4, STEPS, FEATURES], 9);
    const [expected = new Float32Array()] = await outputsOf(forecaster(), { x });
    const [found = new Float32Array()] = await outputsOf(model, { x });
    for (const [at, value] of expected.entries()) expect(found[at]).toBeCloseTo(value, 5);
  });

  test.each([
    ['peepholes', (model: Model) => model.graph.nodes[0]?.setInput(7, model.graph.addInitializer('p', noise([1, 3 * HIDDEN], 5)))],
    ['clipped', (model: Model) => model.graph.nodes[0]?.attributes.set('clip', attributeOf.float(1))],
    ['coupled', (model: Model) => model.graph.nodes[0]?.attributes.set('input_forget', attributeOf.int(1))],
  ])('%s is left, with the reason', (word, change) => {
    const model = layerModel({ kind: 'LSTM', direction: 'forward' });
    change(model);
    const plan = planQuantization(model, planOptions);
    expect(plan.recurrents).toEqual([]);
    expect(plan.left[0]?.reason).toContain(word);
  });

  test('a layer that the recipe excludes is left', () => {
    const plan = planQuantization(layerModel({ kind: 'GRU', direction: 'forward' }), { ...planOptions, exclude: ['GRU_*'] });
    expect(plan.left).toMatchObject([{ reason: 'excluded by the recipe' }]);
    expect(plan.weights).toEqual([]);
  });
});
