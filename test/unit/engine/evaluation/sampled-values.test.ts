import { afterAll, expect, it } from 'vitest';
import { withSampledOutputs } from '../../../../services/engine/evaluation/sampled-values.js';
import { float32Values } from '../../../../services/engine/ir/index.js';
import { outputsOf, removeScratch } from '../quantization/method-fixtures.js';
import { image, NetworkBuilder, runtime } from '../quantization/static/static-fixtures.js';

afterAll(removeScratch);

it('shows every so many elements of values inside a model, cut at their bounds, and leaves the model alone', async () => {
  const net = new NetworkBuilder();
  const inner = net.conv(net.input('x', ['n', 3, 12, 12]), [3, 8]);
  const { model } = net.output(net.node('Relu', [inner]));
  const none = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
  const sampled = withSampledOutputs(model, [
    { name: inner.name, stride: 7, low: -0.25, high: Number.POSITIVE_INFINITY },
    { name: model.graph.outputs[0]?.name ?? '', stride: 1, ...none },
    { name: 'made by nobody', stride: 1, ...none },
  ]);
  expect([...sampled.outputs.keys()]).toEqual([inner.name, model.graph.outputs[0]?.name]);
  expect(model.graph.outputs.length).toBe(1);

  const feeds = { x: image(3) };
  const [plain = new Float32Array()] = await outputsOf(model, feeds, runtime);
  const session = await runtime.open(sampled.model);
  const results = await session.run(new Map(Object.entries(feeds)));
  await session.close();
  const values = (name: string): Float32Array => {
    const tensor = results.get(sampled.outputs.get(name) ?? '');
    return tensor ? float32Values(tensor) : new Float32Array();
  };
  expect(values(model.graph.outputs[0]?.name ?? '')).toEqual(plain);
  const part = values(inner.name);
  expect(part.length).toBe(Math.ceil(plain.length / 7));
  expect(part.reduce((a, b) => Math.min(a, b))).toBe(-0.25);
  for (const [at, value] of part.entries()) expect(Math.max(0, value)).toBeCloseTo(plain[7 * at] ?? Number.NaN, 5);
});
