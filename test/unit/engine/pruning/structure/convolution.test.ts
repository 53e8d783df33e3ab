/** Channels of convolutions: what goes with them, in which numbers, and what keeps them. */
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, intAttribute, type Model } from '../../../../../services/engine/ir/index.js';
import type { PruningGroup } from '../../../../../services/engine/pruning/structure/pruning-structure.js';
import { buildModel, type GraphSpec, weights } from '../../../../support/build-model.js';
import { analyzed, chosenUnits, expectExact, type Feeds } from './pruning-oracle.js';

const image: Feeds = new Map([['x', weights([2, 3, 5, 5], 11)]]);
const kernel = (size: number) => ({ kernel_shape: attributeOf.ints([size, size]) });
const half = (groups: readonly PruningGroup[]) => chosenUnits(groups, 0.5, () => 0.5);

function network(spec: Pick<GraphSpec, 'constants' | 'nodes'>): Model {
  return buildModel({ inputs: [{ name: 'x', shape: ['n', 3, 5, 5] }], outputs: [{ name: 'y', shape: null }], ...spec });
}

function described(groups: readonly PruningGroup[]): string[] {
  return groups.map(({ id, kind, parts, producers, consumers }) => {
    const names = (nodes: PruningGroup['producers']) => nodes.map(({ name }) => name).join('+');
    return `${kind} ${id}: ${parts.map((part) => part.length).join('+')} from ${names(producers)} to ${names(consumers)}`;
  });
}

describe('convolutions', () => {
  test('outputs of a layer go with its bias, its normalization, its slopes and the columns of the next layer', async () => {
    const model = network({
      constants: {
        w1: weights([6, 3, 3, 3], 1),
        b1: weights([6], 2),
        scale: weights([6], 3),
        shift: weights([6], 4),
        mean: weights([6], 5),
        variance: float32Tensor([6], [1, 2, 3, 1, 2, 3]),
        slope: weights([6, 1, 1], 6),
        w2: weights([2, 6, 1, 1], 7),
      },
      nodes: [
        { opType: 'Conv', inputs: ['x', 'w1', 'b1'], outputs: ['a'], attributes: kernel(3) },
        { opType: 'BatchNormalization', inputs: ['a', 'scale', 'shift', 'mean', 'variance'], outputs: ['b'] },
        { opType: 'PRelu', inputs: ['b', 'slope'], outputs: ['c'] },
        { opType: 'Conv', inputs: ['c', 'w2'], outputs: ['y'] },
      ],
    });
    const structure = await analyzed(model, image);
    expect(described(structure.groups)).toEqual(['channels a: 6 from a to y']);
    const members = structure.groups[0]?.units[4]?.members.map(({ constant, axis, indices, role }) => [
      constant.name,
      axis,
      ...indices,
      role,
    ]);
    expect(members).toEqual([
      ['w1', 0, 4, 'producer'],
      ['w2', 1, 4, 'consumer'],
      ...['b1', 'scale', 'shift', 'mean', 'variance', 'slope'].map((name) => [name, 0, 4, 'parameter']),
    ]);
    expect(structure.frozen.map(({ node, axis, reason }) => [node.name, axis, reason])).toEqual([
      ['y', 1, '"y" is an output of the model'],
    ]);
    const pruned = await expectExact(structure, half(structure.groups), image);
    expect(pruned.survivors.get('w1')?.get(0)?.[0]).toHaveLength(3);
    expect(pruned.survivors.get('w2')?.get(1)).toEqual(pruned.survivors.get('w1')?.get(0));
    expect(pruned.nodes.map(({ node, action, reason }) => [node, action, reason])).toEqual([
      ['a', 'changed', 'outputs 6 -> 3'],
      ['y', 'changed', 'inputs 6 -> 3'],
    ]);
  });

  test('all layers on one residual stream lose the same channels; one that adds the input keeps them', async () => {
    const stream: GraphSpec['nodes'] = [
      { opType: 'Conv', inputs: ['x', 'w1'], outputs: ['a'] },
      { opType: 'Conv', inputs: ['a', 'w2'], outputs: ['b'] },
      { opType: 'Relu', inputs: ['b'], outputs: ['r'] },
      { opType: 'Conv', inputs: ['r', 'w3'], outputs: ['c'] },
      { opType: 'Add', inputs: ['a', 'c'], outputs: ['s'] },
      { opType: 'Conv', inputs: ['s', 'w4'], outputs: ['y'] },
    ];
    const constants = {
      w1: weights([4, 3, 1, 1], 1),
      w2: weights([7, 4, 1, 1], 2),
      w3: weights([4, 7, 1, 1], 3),
      w4: weights([2, 4, 1, 1], 4),
    };
    const structure = await analyzed(network({ constants, nodes: stream }), image);
    expect(described(structure.groups)).toEqual(['channels a: 4 from a+c to b+y', 'channels b: 7 from b to c']);
    await expectExact(structure, half(structure.groups), image);
    const withInput = stream.map((node) => (node.outputs[0] === 's' ? { ...node, inputs: ['x', 'c'] } : node));
    const narrow = { ...constants, w3: weights([3, 7, 1, 1], 3), w4: weights([2, 3, 1, 1], 4) };
    const kept = await analyzed(network({ constants: narrow, nodes: withInput }), image);
    expect(kept.frozen.find(({ node }) => node.name === 'c')?.reason).toBe('Add "s" combines them with channels that stay');
  });

  test('groups of a convolution lose equal numbers, whichever; so do those that it reads', async () => {
    const model = network({
      constants: { w1: weights([8, 3, 1, 1], 1), w2: weights([12, 4, 3, 3], 2), b2: weights([12], 3), w3: weights([2, 12, 1, 1], 4) },
      nodes: [
        { opType: 'Conv', inputs: ['x', 'w1'], outputs: ['a'] },
        { opType: 'Conv', inputs: ['a', 'w2', 'b2'], outputs: ['b'], attributes: { group: attributeOf.int(2) } },
        { opType: 'Conv', inputs: ['b', 'w3'], outputs: ['y'] },
      ],
    });
    const structure = await analyzed(model, image);
    expect(described(structure.groups)).toEqual(['channels a: 4+4 from a to b', 'channels b: 6+6 from b to y']);
    const [first] = structure.groups;
    const read = first?.units[5]?.members.find(({ constant }) => constant.name === 'w2');
    expect(read).toMatchObject({ axis: 1, indices: [1], within: { axis: 0, from: 6, to: 12 }, role: 'consumer' });
    // Other channels of each group: 0 and 3 of the first, 5 and 6 of the second.
    const units = [0, 3, 5, 6].flatMap((at) => first?.units[at] ?? []);
    const pruned = await expectExact(structure, [...units, ...half(structure.groups.slice(1))], image);
    expect(pruned.model.graph.nodes.map((node) => intAttribute(node, 'group', 1))).toEqual([1, 2, 1]);
    expect(pruned.survivors.get('w2')?.get(1)).toEqual([...Array(6).fill([1, 2]), ...Array(6).fill([0, 3])]);
  });

  test('a depthwise layer goes with what it reads, all outputs of a channel together', async () => {
    const model = network({
      constants: { w1: weights([5, 3, 1, 1], 1), w2: weights([10, 1, 3, 3], 2), b2: weights([10], 3), w3: weights([2, 10, 1, 1], 4) },
      nodes: [
        { opType: 'Conv', inputs: ['x', 'w1'], outputs: ['a'] },
        { opType: 'Conv', inputs: ['a', 'w2', 'b2'], outputs: ['b'], attributes: { group: attributeOf.int(5) } },
        { opType: 'Conv', inputs: ['b', 'w3'], outputs: ['y'] },
      ],
    });
    const structure = await analyzed(model, image);
    expect(described(structure.groups)).toEqual(['channels a: 5 from a+b to y']);
    expect(structure.groups[0]?.units[3]?.members.find(({ constant }) => constant.name === 'b2')?.indices).toEqual([6, 7]);
    const pruned = await expectExact(structure, half(structure.groups), image);
    expect(pruned.model.graph.nodes.map((node) => intAttribute(node, 'group', 1))).toEqual([1, 2, 1]);
  });

  test.each([1, 2, 4])('a transposed convolution of %i groups loses inputs and outputs', async (group) => {
    const model = network({
      constants: {
        w1: weights([4, 3, 1, 1], 1),
        w2: weights([4, 6, 2, 2], 2),
        b2: weights([6 * group], 3),
        w3: weights([2, 6 * group, 1, 1], 4),
      },
      nodes: [
        { opType: 'Conv', inputs: ['x', 'w1'], outputs: ['a'] },
        { opType: 'ConvTranspose', inputs: ['a', 'w2', 'b2'], outputs: ['b'], attributes: { group: attributeOf.int(group) } },
        { opType: 'Conv', inputs: ['b', 'w3'], outputs: ['y'] },
      ],
    });
    const structure = await analyzed(model, image);
    const expected = {
      1: ['channels a: 4 from a to b', 'channels b: 6 from b to y'],
      2: ['channels a: 2+2 from a to b', 'channels b: 6+6 from b to y'],
      4: ['channels a: 4 from a+b to y'],
    };
    expect(described(structure.groups)).toEqual(expected[group as 1 | 2 | 4]);
    await expectExact(structure, half(structure.groups), image);
  });

  test('weights that two layers share stay shared; a constant that layers merely have in common is copied', async () => {
    const model = network({
      constants: {
        first: weights([4, 3, 1, 1], 1),
        shared: weights([4, 4, 1, 1], 2),
        zeros: float32Tensor([4], [0, 0, 0, 0]),
        own: weights([4, 4, 1, 1], 3),
        last: weights([2, 4, 1, 1], 4),
      },
      nodes: [
        { opType: 'Conv', inputs: ['x', 'first', 'zeros'], outputs: ['a'] },
        { opType: 'Conv', inputs: ['a', 'shared'], outputs: ['b'] },
        { opType: 'Conv', inputs: ['b', 'shared'], outputs: ['c'] },
        { opType: 'Conv', inputs: ['c', 'own', 'zeros'], outputs: ['d'] },
        { opType: 'Conv', inputs: ['d', 'last'], outputs: ['y'] },
      ],
    });
    const structure = await analyzed(model, image);
    // b is read and made by the shared weight: a, b and c are one stream; d has only the bias of zeros in common with it.
    expect(described(structure.groups)).toEqual(['channels a: 4 from a+b+c to b+c+d', 'channels d: 4 from d to y']);
    const [stream, other] = structure.groups;
    const units = [stream?.units[0], stream?.units[1], other?.units[3]].flatMap((unit) => unit ?? []);
    const { model: pruned, survivors } = await expectExact(structure, units, image);
    expect(pruned.graph.nodes[1]?.inputs[1]).toBe(pruned.graph.nodes[2]?.inputs[1]);
    expect([...pruned.graph.initializers.values()].map(({ dims }) => dims.join())).toEqual([
      '2,3,1,1',
      '2,2,1,1',
      '2',
      '3,2,1,1',
      '2,3,1,1',
      '3',
    ]);
    const biases = pruned.graph.nodes.flatMap((node) => node.inputs[2]?.name ?? []);
    expect(biases.map((name) => survivors.get(name)?.get(0))).toEqual([[[2, 3]], [[0, 1, 2]]]);
  });

  test('gates and pixel shuffles take all that they multiply and interleave along', async () => {
    const model = network({
      constants: {
        w1: weights([8, 3, 1, 1], 1),
        squeeze: weights([3, 8, 1, 1], 2),
        excite: weights([8, 3, 1, 1], 3),
        w2: weights([2, 2, 1, 1], 4),
      },
      nodes: [
        { opType: 'Conv', inputs: ['x', 'w1'], outputs: ['a'] },
        { opType: 'GlobalAveragePool', inputs: ['a'], outputs: ['p'] },
        { opType: 'Conv', inputs: ['p', 'squeeze'], outputs: ['q'] },
        { opType: 'Relu', inputs: ['q'], outputs: ['r'] },
        { opType: 'Conv', inputs: ['r', 'excite'], outputs: ['e'] },
        { opType: 'Sigmoid', inputs: ['e'], outputs: ['g'] },
        { opType: 'Mul', inputs: ['a', 'g'], outputs: ['m'] },
        { opType: 'DepthToSpace', inputs: ['m'], outputs: ['d'], attributes: { blocksize: attributeOf.int(2) } },
        { opType: 'Conv', inputs: ['d', 'w2'], outputs: ['y'] },
      ],
    });
    const structure = await analyzed(model, image);
    expect(described(structure.groups)).toEqual(['channels a: 2 from a+e to q+y', 'channels q: 3 from q to e']);
    expect(structure.groups[0]?.units[1]?.members[0]?.indices).toEqual([1, 3, 5, 7]);
    await expectExact(structure, half(structure.groups), image);
  });
});
