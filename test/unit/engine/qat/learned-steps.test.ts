/** Learned steps of activations: gradients are those of the papers, and what is written is what was computed. */
import { afterAll, describe, expect, test } from 'vitest';
import { vjp } from '../../../../services/engine/autodiff/index.js';
import {
  cloneModel,
  float32Tensor,
  float32Values,
  type Model,
  NameAuthority,
  type Tensor,
  Value,
} from '../../../../services/engine/ir/index.js';
import { type LearnedSteps, learnSteps } from '../../../../services/engine/qat/learned-steps.js';
import { roundActivations } from '../../../../services/engine/qat/rounded-activations.js';
import { observeShapes } from '../../../../services/engine/runtime/observe-shapes.js';
import { trainModel } from '../../../../services/engine/training/index.js';
import { ModelBuilder, noise, outputsOf, removeScratch, runtime } from '../quantization/method-fixtures.js';
import { learningContext, sourceOf } from '../training/training-fixtures.js';

afterAll(removeScratch);

const [ROWS, WIDTH] = [4, 30];
const x = noise([ROWS, WIDTH], 5, 1.3);
const dy = noise([ROWS, WIDTH], 6);

/** y = x^, rounded in front of the one layer. */
function rounded(scale: number, zeroPoint: number): { model: Model; start: Map<string, { scale: number; zeroPoint: number }> } {
  const builder = new ModelBuilder({ opset: 18 });
  const { model } = builder.output(
    builder.node('Relu', [builder.node('Mul', [builder.input('x', [ROWS, WIDTH]), builder.constant('one', float32Tensor([1], [1]))])]),
  );
  const [multiply, relu] = model.graph.nodes;
  const made = multiply?.outputs[0] as Value;
  const start = new Map([[made.name, { scale: Math.fround(scale), zeroPoint }]]);
  roundActivations(model, [relu as NonNullable<typeof relu>], start);
  model.graph.outputs.splice(0, 1, relu?.inputs[0] as Value);
  model.graph.remove([relu as NonNullable<typeof relu>]);
  return { model, start };
}

function set(model: Model, name: string, value: number): void {
  for (const [constant, tensor] of model.graph.initializers)
    if (constant.name === name) model.graph.initializers.set(constant, float32Tensor(tensor.dims, [value]));
}

/** The trained numbers in their order: r, and o where it is learned. */
function moved(model: Model, steps: LearnedSteps, values: readonly number[]): void {
  for (const [at, name] of [...steps.trained].entries()) set(model, name, values[at] ?? 0);
}

async function gradients(model: Model, steps: LearnedSteps): Promise<number[]> {
  const feeds = new Map<string, Tensor>([['x', x]]);
  const { shapes } = await observeShapes(runtime, { model, feeds });
  const cotangent = new Value('dy', { kind: 'tensor', dataType: 'float32', shape: [ROWS, WIDTH] });
  model.graph.inputs.push(cotangent);
  const wrt = [...model.graph.initializers.keys()].filter(({ name }) => steps.trained.has(name));
  const [y] = model.graph.outputs;
  const found = vjp({
    model,
    names: new NameAuthority(model),
    shapes,
    cotangents: new Map([[y as Value, cotangent]]),
    wrt,
    estimator: steps.estimator,
  });
  model.graph.outputs.splice(0, 1, ...wrt.map((each) => found.get(each) as Value));
  for (const output of model.graph.outputs) output.type = { kind: 'tensor', dataType: 'float32', shape: null };
  const results = await outputsOf(model, { x, dy });
  const byName = new Map(wrt.map(({ name }, at) => [name, results[at]?.[0] ?? Number.NaN]));
  return [...steps.trained].map((name) => byName.get(name) ?? Number.NaN);
}

const share = 1 / Math.sqrt(WIDTH * 255);

describe('gradients of learned steps', () => {
  test('of the step by LSQ: g sum dy (round(v) - v inside, -z below, 255 - z above), over the step at the start', async () => {
    const { model, start } = rounded(0.006, 100);
    const steps = learnSteps(model, start, 'lsq');
    moved(model, steps, [1.07]);
    const scale = Math.fround(Math.fround(0.006) * Math.fround(1.07));
    let expected = 0;
    for (const [at, value] of float32Values(x).entries()) {
      const v = value / scale;
      const code = Math.round(v) + 100;
      const slope = code < 0 ? -100 : code > 255 ? 155 : Math.round(v) - v;
      expected += (float32Values(dy)[at] ?? 0) * slope;
    }
    const [found] = await gradients(model, steps);
    expect(found).toBeCloseTo((share * expected) / 0.006, 2);
  });

  test('of the offset by LSQ+: g s sum dy outside, with the sign of the zero point', async () => {
    const { model, start } = rounded(0.006, 100);
    const steps = learnSteps(model, start, 'lsq+');
    moved(model, steps, [1, 0.05]);
    let expected = 0;
    for (const [at, value] of float32Values(x).entries()) {
      const code = Math.round(value / Math.fround(0.006)) + 113;
      if (code < 0 || code > 255) expected += float32Values(dy)[at] ?? 0;
    }
    const [, found] = await gradients(model, steps);
    expect(found).toBeCloseTo((-share * expected) / (0.006 * 255), 4);
    expect(Math.abs(found ?? 0)).toBeGreaterThan(1e-4);
  });

  test('of the bound by PACT: sum dy above it, and nothing where values go below 0', async () => {
    const { model, start } = rounded(0.003, 0);
    const steps = learnSteps(model, start, 'pact');
    const above = float32Values(x).reduce(
      (sum, value, at) => sum + (value > 255 * Math.fround(0.003) ? (float32Values(dy)[at] ?? 0) : 0),
      0,
    );
    const [found] = await gradients(model, steps);
    expect(found).toBeCloseTo((share * 255 * above) / 0.003, 1);
    const signed = rounded(0.006, 100);
    expect(learnSteps(signed.model, signed.start, 'pact').trained.size).toBe(0);
  });
});

describe('training', () => {
  test.each([
    ['lsq', 0.05],
    ['lsq+', 0.05],
    ['lsq', 0.003],
    ['pact', 0.002],
  ] as const)('%s leads a step of %d to the range of the values', async (how, scale) => {
    const values = float32Values(noise([64, WIDTH], 8, 1.3)).map((value) => (how === 'pact' ? Math.abs(value) : value));
    const zeroPoint = how === 'pact' ? 0 : 128;
    const best = 1.3 / (how === 'pact' ? 255 : 127);
    const { model, start } = rounded(scale, zeroPoint);
    const steps = learnSteps(model, start, how);
    const teacher = rounded(1, 0).model;
    teacher.graph.outputs.splice(0, 1, teacher.graph.nodes[0]?.outputs[0] as Value);
    teacher.graph.remove(teacher.graph.nodes.slice(1));
    const options = { epochs: 40, batch_size: ROWS, learning_rate: 0.03, trainable: [...steps.trained] };
    const task = {
      by: 'test',
      options,
      defaults: { epochs: 1, learningRate: 1 },
      teacher,
      alsoTrained: steps.trained,
      estimator: steps.estimator,
    };
    await trainModel(model, task, learningContext(sourceOf({ input: 'x', dims: [WIDTH], values })));
    const constants = new Map([...model.graph.initializers].map(([{ name }, tensor]) => [name, tensor]));
    const [[, found] = []] = steps.parameters((name) => float32Values(constants.get(name) as Tensor));
    expect((found?.scale ?? 0) / best).toBeGreaterThan(0.7);
    expect((found?.scale ?? 0) / best).toBeLessThan(2);
  });
});

describe('what is written', () => {
  test.each(['lsq', 'lsq+'] as const)('is what the forward pass computed, to the bit: %s', async (how) => {
    const { model, start } = rounded(0.0061, 90);
    const steps = learnSteps(model, start, how);
    moved(model, steps, [0.8317, 0.0412]);
    const constants = new Map([...model.graph.initializers].map(([{ name }, tensor]) => [name, tensor]));
    const parameters = steps.parameters((name) => float32Values(constants.get(name) as Tensor));
    const [[name, chosen] = ['', { scale: 0, zeroPoint: 0 }]] = parameters;
    expect(start.has(name)).toBe(true);
    expect(chosen.zeroPoint).toBe(how === 'lsq' ? 90 : 101);
    const written = rounded(chosen.scale, chosen.zeroPoint);
    const [simulated] = await outputsOf(cloneModel(model), { x });
    const [exported] = await outputsOf(written.model, { x });
    expect(exported).toEqual(simulated);
  });

  test('a step that training carried to nothing stays a step', () => {
    const { model, start } = rounded(0.0061, 0);
    const steps = learnSteps(model, start, 'lsq');
    const [[, { scale } = { scale: 0 }] = []] = steps.parameters(() => Float32Array.of(-3));
    expect(scale).toBeCloseTo(0.0061 / 16, 6);
  });
});
