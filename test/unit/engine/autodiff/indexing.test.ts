/** Reading and writing by index against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, int64Tensor, type Tensor } from '../../../../services/engine/ir/index.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

interface Case {
  readonly name: string;
  readonly opType: string;
  readonly inputs: readonly (readonly number[])[];
  /** Constants by position among the inputs. */
  readonly constants: Readonly<Record<number, Tensor>>;
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly outputs?: number;
}

const axis = (value: number) => ({ axis: attributeOf.int(value) });
const add = { reduction: attributeOf.string('add') };

const cases: readonly Case[] = [
  { name: 'Gather of rows, one twice', opType: 'Gather', inputs: [[5, 3]], constants: { 1: int64Tensor([2, 2], [0, 3, 3, -1]) } },
  { name: 'Gather of one row', opType: 'Gather', inputs: [[5, 3]], constants: { 1: int64Tensor([], [-2]) } },
  { name: 'Gather of one column', opType: 'Gather', inputs: [[2, 5, 3]], constants: { 1: int64Tensor([], [1]) }, attributes: axis(1) },
  {
    name: 'Gather along the middle',
    opType: 'Gather',
    inputs: [[2, 5, 3]],
    constants: { 1: int64Tensor([3], [1, 1, 4]) },
    attributes: axis(1),
  },
  {
    name: 'Gather along the end',
    opType: 'Gather',
    inputs: [[2, 5, 3]],
    constants: { 1: int64Tensor([2, 1], [2, 0]) },
    attributes: axis(-1),
  },
  { name: 'GatherElements', opType: 'GatherElements', inputs: [[3, 4]], constants: { 1: int64Tensor([2, 4], [0, 1, 2, 0, 0, 1, 1, 2]) } },
  { name: 'GatherND', opType: 'GatherND', inputs: [[3, 4, 2]], constants: { 1: int64Tensor([3, 2], [0, 1, 2, 3, 0, 1]) } },
  {
    name: 'ScatterND',
    opType: 'ScatterND',
    inputs: [
      [4, 3],
      [2, 3],
    ],
    constants: { 1: int64Tensor([2, 1], [3, 0]) },
  },
  {
    name: 'ScatterND that adds',
    opType: 'ScatterND',
    inputs: [
      [4, 3],
      [2, 3],
    ],
    constants: { 1: int64Tensor([2, 1], [2, 2]) },
    attributes: add,
  },
  {
    name: 'ScatterElements',
    opType: 'ScatterElements',
    inputs: [
      [3, 3],
      [1, 3],
    ],
    constants: { 1: int64Tensor([1, 3], [2, 0, 1]) },
  },
  {
    ...{
      name: 'ScatterElements that adds',
      opType: 'ScatterElements',
      inputs: [
        [3, 3],
        [3, 2],
      ],
    },
    ...{ constants: { 1: int64Tensor([3, 2], [2, 2, 0, 1, 1, 1]) }, attributes: { ...axis(1), ...add } },
  },
  { name: 'TopK', opType: 'TopK', inputs: [[3, 5]], constants: { 1: int64Tensor([1], [2]) }, outputs: 2 },
];

describe('indexing', () => {
  test.each(cases)('$name', async ({ opType, inputs, constants, attributes = {}, outputs = 1 }) => {
    const count = inputs.length + Object.keys(constants).length;
    const names = Array.from({ length: count }, (_, at) => (Object.hasOwn(constants, at) ? `c${at}` : `x${at}`));
    const fed = names.filter((name) => name.startsWith('x'));
    const model = buildModel({
      inputs: fed.map((name, at) => ({ name, shape: inputs[at] ?? [] })),
      outputs: [{ name: 'y', shape: null }],
      constants: Object.fromEntries(Object.entries(constants).map(([at, tensor]) => [`c${at}`, tensor])),
      nodes: [{ opType, inputs: names, outputs: ['y', ...Array.from({ length: outputs - 1 }, (_, at) => `unread${at}`)], attributes }],
    });
    const feeds = Object.fromEntries(fed.map((name, at) => [name, weights(inputs[at] ?? [], at + 1)]));
    model.opsetImports.set('', 18);
    for (const { error, largest } of await checkGradients({ model, feeds, elements: 40, step: 4e-3 })) {
      expect(largest).toBeGreaterThan(0.05);
      expect(error).toBeLessThan(3e-3);
    }
  });
});
