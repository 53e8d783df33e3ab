/** Clipping by global norm: the direction stays, the length is bounded over all parameters together. */
import { afterAll, expect, test } from 'vitest';
import { float32Tensor, float32Values, Graph, GraphWriter, Model, NameAuthority, Value } from '../../../../services/engine/ir/index.js';
import { clippedByGlobalNorm } from '../../../../services/engine/training/gradient-clipping.js';
import { removeScratch, runtime } from '../quantization/method-fixtures.js';

afterAll(removeScratch);

async function clipped(gradients: readonly (readonly number[])[], limit: number): Promise<number[][]> {
  const graph = new Graph('clipping');
  const model = new Model(graph);
  model.opsetImports.set('', 18);
  const typed = (value: Value, size: number): Value => {
    value.type = { kind: 'tensor', dataType: 'float32', shape: [size] };
    return value;
  };
  const inputs = gradients.map(({ length }, at) => typed(new Value(`g${at}`), length));
  graph.inputs.push(...inputs);
  const outputs = clippedByGlobalNorm(new GraphWriter(model, new NameAuthority(model)), inputs, limit);
  graph.outputs.push(...outputs.map((value, at) => typed(value, gradients[at]?.length ?? 0)));
  const session = await runtime.open(model);
  const found = await session.run(new Map(gradients.map((values, at) => [`g${at}`, float32Tensor([values.length], values)])));
  await session.close();
  return [...found.values()].map((tensor) => [...float32Values(tensor)]);
}

const gradients = [
  [3, 0],
  [0, 4, 12],
];

test('a gradient longer than the limit is scaled down as a whole', async () => {
  const found = await clipped(gradients, 6.5);
  for (const [at, values] of found.entries())
    for (const [index, value] of values.entries()) expect(value).toBeCloseTo((gradients[at]?.[index] ?? 0) / 2, 5);
});

test('a gradient within the limit keeps its bits', async () => {
  expect(await clipped(gradients, 14)).toEqual(gradients);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])('a gradient with %s leaves no number that looks right', async (value) => {
  const found = await clipped([...gradients, [value]], 1);
  expect(found.at(-1)?.every((each) => Number.isNaN(each))).toBe(true);
});
