import { afterAll, expect, it } from 'vitest';
import { cloneModel } from '../../../../../services/engine/ir/clone-model.js';
import type { Model } from '../../../../../services/engine/ir/index.js';
import { verifyModel } from '../../../../../services/engine/ir/verify-graph.js';
import { staticInt8 } from '../../../../../services/engine/quantization/static/static-int8.js';
import { operators, outputsOf, removeScratch, sqnr } from '../method-fixtures.js';
import { image, NetworkBuilder, runtime, samplesOf, staticContext } from './static-fixtures.js';

afterAll(removeScratch);

/** Two gated convolutions: between them codes or float, behind the second a float operator. */
function network(): Model {
  const net = new NetworkBuilder();
  const gated = (x: ReturnType<NetworkBuilder['conv']>) => net.node('Mul', [net.node('Sigmoid', [x]), x]);
  const first = gated(net.conv(net.input('x', ['n', 3, 12, 12]), [3, 8]));
  return net.output(net.node('Softplus', [gated(net.conv(first, [8, 8]))]), ['n', 8, 12, 12]).model;
}

it('writes a gate in float behind codes as one operator, which answers as the pair did', async () => {
  const float = network();
  const model = cloneModel(float);
  await staticInt8(model, {}, staticContext(samplesOf(image)));
  verifyModel(model);
  expect(operators(model).filter((operator) => operator === 'QuickGelu').length).toBe(1);
  // Between the convolutions the gate computes on codes.
  expect(operators(model).filter((operator) => operator === 'Sigmoid').length).toBe(1);
  const feeds = { x: image(9) };
  const [[exact], [answer]] = [await outputsOf(float, feeds, runtime), await outputsOf(model, feeds, runtime)];
  expect(sqnr(exact ?? new Float32Array(), answer ?? new Float32Array())).toBeGreaterThan(30);
});
