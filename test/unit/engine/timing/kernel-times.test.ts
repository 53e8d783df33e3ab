/** The names that the runtime gives to kernels, against its own profile. */
import { afterAll, expect, it } from 'vitest';
import type { Model } from '../../../../services/engine/ir/index.js';
import { timesByName } from '../../../../services/engine/timing/kernel-times.js';
import { removeScratch } from '../quantization/method-fixtures.js';
import { image, NetworkBuilder, runtime } from '../quantization/static/static-fixtures.js';

afterAll(removeScratch);

/** Convolutions in blocks of channels, Relu and SiLU, which the runtime fuses. */
function network(): Model {
  const net = new NetworkBuilder();
  const first = net.node('Relu', [net.conv(net.input('x', ['n', 3, 12, 12]), [3, 16])]);
  const second = net.conv(first, [16, 16]);
  const silu = net.node('Mul', [second, net.node('Sigmoid', [second])]);
  return net.output(net.node('GlobalAveragePool', [net.conv(silu, [16, 16])])).model;
}

it('finds kernels under the names of nodes, or of the values that they make, whatever was fused', async () => {
  const model = network();
  for (const node of model.graph.nodes) node.name = `node of ${node.outputs[0]?.name}`;
  const [kernels = []] = await runtime.profile([model], new Map([['x', image(1)]]), { budgetMs: 20, signal: new AbortController().signal });
  const times = timesByName(kernels);
  const known = new Set(model.graph.nodes.flatMap(({ name, outputs }) => [name, ...outputs.flatMap((value) => value?.name ?? [])]));
  const strange = [...times.keys()].filter((name) => !known.has(name) && !name.startsWith('Reorder'));
  expect(strange).toEqual([]);
  expect(kernels.map(({ opType }) => opType)).toContain('QuickGelu');
  const product = model.graph.nodes.find(({ opType }) => opType === 'Mul');
  expect(times.get(product?.name ?? '')).toBeGreaterThan(0);
});
