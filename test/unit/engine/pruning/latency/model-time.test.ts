/** Times by width: what a runtime with known times says of layers comes back as the time of the pruned model; what is known is not measured again. */
import { afterAll, describe, expect, test } from 'vitest';
import { cloneModel, elementCount, float32Tensor, intAttribute, type Model, type Node } from '../../../../../services/engine/ir/index.js';
import type { MethodContext } from '../../../../../services/engine/method.js';
import { ValueSizes } from '../../../../../services/engine/pruning/budget/value-sizes.js';
import { widthLadder } from '../../../../../services/engine/pruning/budget/width-ladder.js';
import { removalOf } from '../../../../../services/engine/pruning/budget/width-problem.js';
import { layerForm } from '../../../../../services/engine/pruning/latency/layer-form.js';
import { measureModelTime } from '../../../../../services/engine/pruning/latency/model-time.js';
import { interpolated } from '../../../../../services/engine/pruning/latency/width-grid.js';
import { removeUnits } from '../../../../../services/engine/pruning/structure/remove-units.js';
import { contextFor, removeScratch, runtime } from '../../quantization/method-fixtures.js';
import { analyzed, fullWidths, orderFromFirst, sampleFeeds } from '../small-network.js';

afterAll(removeScratch);

const network = await analyzed(fullWidths);
const orders = network.groups.map((group) => orderFromFirst(group));

const isLayer = ({ opType }: Node): boolean => /^(Conv|MatMul|Gemm)$/.test(opType);

/** 1 us of the profiler itself, and a microsecond per 100 weights of a layer. */
const OVERHEAD = 1;
const timeOf = (model: Model, name: string): number => {
  const node = model.graph.nodes.find((each) => each.name === name);
  const weight = node && isLayer(node) && node.inputs[1] && model.graph.initializers.get(node.inputs[1]);
  return weight ? elementCount(weight.dims) / 100 : 0;
};

/** A runtime on which every layer takes a time that its weights decide, and counts what it was asked to profile. */
function countingRuntime() {
  const profiled: Model[] = [];
  const fake: MethodContext['runtime'] = {
    ...runtime,
    async profile(models) {
      const known = models.filter((model): model is Model => typeof model !== 'string');
      profiled.push(...known);
      return known.map(({ graph }, at) =>
        graph.nodes.map(({ name, opType }) => ({ node: name, opType, microseconds: OVERHEAD + timeOf(known[at] ?? network.model, name) })),
      );
    },
  };
  return { fake, profiled };
}

function contextWith(fake: MethodContext['runtime'], latencyCache?: MethodContext['latencyCache']): MethodContext {
  return { ...contextFor('measured'), runtime: fake, sample: sampleFeeds, ...(latencyCache ? { latencyCache } : {}) };
}

function request(roundTo: number) {
  const ladders = orders.map((order) => widthLadder(order, { roundTo, minChannels: 1, maxRemoved: 0.8 }));
  return { ...network, sizes: new ValueSizes(network.structure, orders), orders, ladders };
}

/** Of the layers of a model by the law of the fake runtime. */
function layersTime(model: Model): number {
  return model.graph.nodes.filter(isLayer).reduce((sum, { name }) => sum + timeOf(model, name), 0);
}

describe('the time of a model by its widths', () => {
  test('is the sum of the times of its layers at those widths, exactly where they were measured', async () => {
    const { ladders, ...rest } = request(16);
    const time = await measureModelTime({ ...rest, ladders }, contextWith(countingRuntime().fake));
    if (!time) throw new Error('nothing was timed');
    for (const rung of [0, 1]) {
      const steps = ladders.map((ladder) => ladder[rung] ?? 0);
      const pruned = cloneModel(network.model);
      removeUnits(
        pruned,
        network.structure,
        orders.flatMap(({ group }, at) => group.units.slice(0, steps[at])),
      );
      // The other nodes keep the microsecond that the cheapest event of their profile is taken to be.
      const others = network.model.graph.nodes.filter((node) => !isLayer(node)).length;
      const surplus = time.at(removalOf(orders, steps)) - layersTime(pruned);
      expect(surplus).toBeGreaterThan(0);
      expect(surplus).toBeLessThanOrEqual(others);
    }
    expect(time.at([16, 16, 16])).toBeLessThan(time.source);
  });

  test('takes what is kept from the cache, and measures widths once for all layers of a form', async () => {
    const kept = new Map<string, string>();
    const cache = { get: async (key: string) => kept.get(key), put: async (key: string, text: string) => void kept.set(key, text) };
    const first = countingRuntime();
    const time = await measureModelTime(request(16), contextWith(first.fake, cache));
    const chains = first.profiled.filter(({ graph }) => graph.name === 'layer_chain');
    expect(chains.length).toBeGreaterThan(0);
    const second = countingRuntime();
    const again = await measureModelTime(request(16), contextWith(second.fake, cache));
    expect(second.profiled.filter(({ graph }) => graph.name === 'layer_chain')).toEqual([]);
    expect(again?.source).toBe(time?.source);
  });

  test('knows nothing of a model without layers that change', async () => {
    const frozen = { ...request(16), orders: [], ladders: [], sizes: new ValueSizes(network.structure, []) };
    expect(await measureModelTime(frozen, contextWith(countingRuntime().fake))).toBeUndefined();
  });
});

describe('the model around a layer', () => {
  test.each([
    ['stem', 0],
    ['depthwise', 1],
  ])('runs on the real runtime at every width, and holds the layer with its attributes: %s', async (_, index) => {
    const convolutions = network.model.graph.nodes.filter(({ opType }) => opType === 'Conv');
    const node = [convolutions[0], convolutions[2]][index];
    const weight = node?.inputs[1] && network.model.graph.initializers.get(node.inputs[1]);
    if (!node || !weight) throw new Error('the network has convolutions');
    const inputDims = network.shapes.get(node.inputs[0]?.name ?? '') ?? [];
    const form = layerForm({ node, weightDims: weight.dims, inputDims, losesGroups: false });
    if (!form) throw new Error('a convolution has a form');
    for (const out of [8, 24]) {
      const model = form.chain({ in: index === 0 ? 3 : 0, out });
      const layer = model.graph.nodes.find(({ name }) => name === 'layer');
      expect(layer && intAttribute(layer, 'group', 1)).toBe(index === 0 ? 1 : out);
      expect(layer?.attributes.get('pads')).toEqual(node.attributes.get('pads'));
      const session = await runtime.open(model);
      const dims = [1, 1, ...inputDims.slice(2)];
      const results = await session.run(new Map([['x', float32Tensor(dims, new Float32Array(elementCount(dims)))]]));
      await session.close();
      expect(results.get(session.outputs[0]?.name ?? '')?.dims).toEqual([1, 1, ...inputDims.slice(2)]);
    }
  });
});

describe('times between measured widths', () => {
  const plane = { ins: [16, 32, 64], outs: [8, 64], time: ({ in: a, out: b }: { in: number; out: number }) => 3 + 2 * a + 5 * b + a * b };

  test('are bilinear: exact for a law that is, and those of the ends beyond them', () => {
    for (const [a, b] of [
      [16, 8],
      [20, 30],
      [64, 64],
      [47, 11],
    ] as const)
      expect(interpolated(plane, { in: a, out: b })).toBeCloseTo(plane.time({ in: a, out: b }), 9);
    expect(interpolated(plane, { in: 8, out: 128 })).toBe(plane.time({ in: 16, out: 64 }));
  });

  test('are unknown when a point beside them is', () => {
    expect(interpolated({ ...plane, time: () => undefined }, { in: 20, out: 30 })).toBeUndefined();
  });
});
