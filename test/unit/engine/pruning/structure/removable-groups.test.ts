/** What pruning tells others of the structure of a model: constants by name, each slice once. */
import { expect, test } from 'vitest';
import { float32Tensor } from '../../../../../services/engine/ir/index.js';
import { removableGroups } from '../../../../../services/engine/pruning/index.js';
import { ModelBuilder, noise } from '../../quantization/method-fixtures.js';
import { analyzed, fullWidths, mapSize } from '../small-network.js';

test('each unit has everything that goes when it goes', async () => {
  const { model, shapes } = await analyzed(fullWidths);
  const groups = removableGroups({ model, shapes, states: [] });
  expect(groups.map(({ units }) => units.length)).toEqual([fullWidths.stream, fullWidths.inner, fullWidths.hidden]);
  const [stream] = groups;
  const places = mapSize ** 2;
  const unit = stream?.units[1] ?? [];
  const of = (constant: string) => unit.find((each) => each.constant === constant);
  expect(unit.map(({ constant }) => constant).sort()).toEqual(['dense_w', 'narrow_b', 'narrow_w', 'stem_b', 'stem_w', 'wide_w']);
  expect(of('stem_w')).toEqual({ constant: 'stem_w', axis: 0, indices: [1] });
  expect(of('wide_w')).toEqual({ constant: 'wide_w', axis: 1, indices: [1] });
  expect(of('dense_w')?.indices).toEqual(Array.from({ length: places }, (_, at) => places + at));
});

test('a matrix that two layers share is one slice, and channels whose removal changes the others are left out', () => {
  const builder = new ModelBuilder();
  const shared = builder.constant('shared', noise([4, 4], 1));
  const first = builder.node('MatMul', [builder.input('x', [2, 3]), builder.constant('w', noise([3, 4], 2))]);
  const twice = builder.node('Add', [
    builder.node('MatMul', [first, shared]),
    builder.node('MatMul', [builder.node('Relu', [first]), shared]),
  ]);
  builder.output(builder.node('MatMul', [twice, builder.constant('v', noise([4, 2], 3))]), [2, 2]);
  const groups = removableGroups({ model: builder.model, shapes: new Map([['x', [2, 3]]]), states: [] });
  expect(groups.length).toBeGreaterThan(0);
  for (const { units } of groups)
    for (const slices of units) expect(new Set(slices.map((each) => JSON.stringify(each))).size).toBe(slices.length);

  const normalized = new ModelBuilder();
  const inner = normalized.node('MatMul', [normalized.input('x', [2, 3]), normalized.constant('w', noise([3, 4], 2))]);
  const ones = normalized.constant('scale', float32Tensor([4], [1, 1, 1, 1]));
  const normal = normalized.node('LayerNormalization', [inner, ones]);
  normalized.output(normalized.node('MatMul', [normal, normalized.constant('v', noise([4, 2], 3))]), [2, 2]);
  expect(removableGroups({ model: normalized.model, shapes: new Map([['x', [2, 3]]]), states: [] })).toEqual([]);
});
