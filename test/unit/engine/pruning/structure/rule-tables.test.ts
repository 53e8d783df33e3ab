/** Rules of attention, movement, recurrence, normalization and of operators at which channels end: groups, and the masked oracle. */
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, int64Tensor, type Tensor } from '../../../../../services/engine/ir/index.js';
import { buildModel, type NodeSpec, weights } from '../../../../support/build-model.js';
import { analyzed, chosenUnits, expectExact, type Feeds } from './pruning-oracle.js';

interface Case {
  readonly name: string;
  /** From h [2, 3, 8], the result of a product whose 8 columns are the channels, to z [2, 3, 8] or as `last` reads it. */
  readonly nodes: readonly NodeSpec[];
  readonly constants?: Readonly<Record<string, Tensor>>;
  /** Weight of the last product; its rows read what `nodes` made. */
  readonly last?: Tensor;
  /** "kind: units in each part" of all groups. */
  readonly groups: readonly string[];
  /** Reasons for which channels stay, each in part. */
  readonly frozen?: readonly string[];
}

const feeds: Feeds = new Map([['x', weights([2, 3, 4], 11)]]);
const ints = (...values: number[]): Tensor => int64Tensor([values.length], values);

function modelOf({ nodes, constants = {}, last = weights([8, 2], 3) }: Case) {
  return buildModel({
    inputs: [{ name: 'x', shape: [2, 3, 4] }],
    outputs: [{ name: 'y', shape: null }],
    constants: { first: weights([4, 8], 1), last, ...constants },
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'first'], outputs: ['h'] },
      ...nodes,
      { opType: 'MatMul', inputs: ['z', 'last'], outputs: ['y'] },
    ],
  });
}

const node = (opType: string, inputs: string[], outputs: string[], attributes: NodeSpec['attributes'] = {}): NodeSpec => ({
  opType,
  inputs,
  outputs,
  attributes,
});
const middle = (): number => 0.5;
const perm = (...axes: number[]) => ({ perm: attributeOf.ints(axes) });

const movement: Case[] = [
  {
    name: 'Transpose there and back',
    nodes: [node('Transpose', ['h'], ['t'], perm(2, 0, 1)), node('Transpose', ['t'], ['z'], perm(1, 2, 0))],
    groups: ['features: 8'],
  },
  {
    name: 'Reshape that merges other axes',
    constants: { s: ints(6, 8) },
    nodes: [node('Reshape', ['h', 's'], ['z'])],
    groups: ['features: 8'],
  },
  {
    name: 'Reshape that merges the channels with an axis before them',
    constants: { s: ints(2, 24) },
    nodes: [node('Reshape', ['h', 's'], ['z'])],
    last: weights([24, 2], 4),
    groups: ['features: 8'],
  },
  { name: 'Flatten', nodes: [node('Flatten', ['h'], ['z'], { axis: attributeOf.int(2) })], groups: ['features: 8'] },
  {
    name: 'Unsqueeze and Squeeze',
    constants: { a: ints(1) },
    nodes: [node('Unsqueeze', ['h', 'a'], ['u']), node('Squeeze', ['u', 'a'], ['z'])],
    groups: ['features: 8'],
  },
];

const normalization: Case[] = [
  {
    name: 'BatchNormalization behind a Transpose',
    constants: {
      scale: weights([8], 5),
      bias: weights([8], 6),
      mean: weights([8], 7),
      variance: float32Tensor([8], [1, 2, 3, 4, 1, 2, 3, 4]),
    },
    nodes: [
      node('Transpose', ['h'], ['t'], perm(0, 2, 1)),
      node('BatchNormalization', ['t', 'scale', 'bias', 'mean', 'variance'], ['n']),
      node('Transpose', ['n'], ['z'], perm(0, 2, 1)),
    ],
    groups: ['features: 8'],
  },
  {
    name: 'InstanceNormalization, whose statistics are of each channel',
    constants: { scale: weights([8], 5), bias: weights([8], 6) },
    nodes: [
      node('Transpose', ['h'], ['t'], perm(0, 2, 1)),
      node('InstanceNormalization', ['t', 'scale', 'bias'], ['n']),
      node('Transpose', ['n'], ['z'], perm(0, 2, 1)),
    ],
    groups: ['features: 8'],
  },
  {
    name: 'LayerNormalization over the channels',
    constants: { scale: weights([8], 5), bias: weights([8], 6) },
    nodes: [node('LayerNormalization', ['h', 'scale', 'bias'], ['z'])],
    groups: ['features: 8, approximate'],
  },
  {
    name: 'LayerNormalization over other axes',
    constants: { scale: weights([3], 5) },
    nodes: [
      node('Transpose', ['h'], ['t'], perm(0, 2, 1)),
      node('LayerNormalization', ['t', 'scale'], ['n']),
      node('Transpose', ['n'], ['z'], perm(0, 2, 1)),
    ],
    groups: ['features: 8'],
  },
];

const gates = (count: number, seed: number): Record<string, Tensor> => ({
  w: weights([1, count * 6, 8], seed),
  r: weights([1, count * 6, 6], seed + 1),
});
const recurrence = (opType: string, count: number): Case => ({
  name: opType,
  constants: { ...gates(count, 5), squeezed: ints(1) },
  nodes: [node(opType, ['h', 'w', 'r'], ['q'], { hidden_size: attributeOf.int(6) }), node('Squeeze', ['q', 'squeezed'], ['z'])],
  last: weights([6, 2], 4),
  groups: ['features: 8', 'hidden: 6'],
});

const attention: Case[] = [
  {
    name: 'heads of two products of activations',
    constants: { k: weights([4, 8], 5), v: weights([4, 8], 6), split: ints(2, 3, 4, 2), merged: ints(2, 3, 8) },
    nodes: [
      node('MatMul', ['x', 'k'], ['hk']),
      node('MatMul', ['x', 'v'], ['hv']),
      ...(['h', 'hk', 'hv'] as const).map((name) => node('Reshape', [name, 'split'], [`${name}_s`])),
      node('Transpose', ['h_s'], ['q'], perm(0, 2, 1, 3)),
      node('Transpose', ['hk_s'], ['kt'], perm(0, 2, 3, 1)),
      node('Transpose', ['hv_s'], ['vt'], perm(0, 2, 1, 3)),
      node('MatMul', ['q', 'kt'], ['scores']),
      node('Softmax', ['scores'], ['p'], { axis: attributeOf.int(-1) }),
      node('MatMul', ['p', 'vt'], ['o']),
      node('Transpose', ['o'], ['ot'], perm(0, 2, 1, 3)),
      node('Reshape', ['ot', 'merged'], ['z']),
    ],
    groups: ['heads: 4'],
  },
];

const boundaries: Case[] = [
  {
    name: 'Softmax over the channels',
    nodes: [node('Softmax', ['h'], ['z'], { axis: attributeOf.int(-1) })],
    groups: [],
    frozen: ['needs all of them'],
  },
  {
    name: 'CumSum over the channels',
    constants: { a: int64Tensor([], [2]) },
    nodes: [node('CumSum', ['h', 'a'], ['z'])],
    groups: [],
    frozen: ['adds them up'],
  },
  {
    name: 'ReduceMax over the channels',
    nodes: [node('ReduceMax', ['h'], ['m'], { axes: attributeOf.ints([2]) }), node('Sub', ['h', 'm'], ['z'])],
    groups: [],
    frozen: ['needs all of them'],
  },
  {
    name: 'ReduceSum over the channels, which is exact without those that are zero',
    constants: { a: ints(2) },
    nodes: [node('ReduceSum', ['h', 'a'], ['z'])],
    last: weights([1, 2], 4),
    groups: ['features: 8'],
  },
  {
    name: 'an operator that is not followed',
    nodes: [node('MeanVarianceNormalization', ['h'], ['z'], { axes: attributeOf.ints([2]) })],
    groups: [],
    frozen: ['cannot be followed'],
  },
];

const tables: Readonly<Record<string, readonly Case[]>> = {
  movement,
  normalization,
  recurrent: [recurrence('LSTM', 4), recurrence('GRU', 3), recurrence('RNN', 1)],
  attention,
  boundaries,
};

describe.each(Object.entries(tables))('rules of %s', (_, cases) => {
  test.each(cases.map((each) => [each.name, each] as const))('%s', async (_name, each) => {
    const structure = await analyzed(modelOf(each), feeds);
    const found = structure.groups.map(
      ({ kind, parts, approximate }) =>
        `${kind}: ${parts.map((part) => part.length).join('+')}${approximate === undefined ? '' : ', approximate'}`,
    );
    expect(found.sort()).toEqual([...each.groups].sort());
    const reasons = structure.frozen.map(({ reason }) => reason);
    for (const why of each.frozen ?? []) expect(reasons.some((reason) => reason.includes(why))).toBe(true);
    const exact = structure.groups.filter(({ approximate }) => approximate === undefined);
    for (const group of exact) await expectExact(structure, chosenUnits([group], 0.5, middle), feeds);
    if (exact.length > 1) await expectExact(structure, chosenUnits(exact, 0.5, middle), feeds);
  });
});
