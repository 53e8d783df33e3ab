/** Property: on random graphs, clean-up keeps the outputs, keeps every random draw, and ends where a second run changes nothing. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, int64Tensor, type Model, type Tensor } from '../../../../services/engine/ir/index.js';
import { buildModel, type NodeSpec } from '../../../support/build-model.js';
import { cleaned, expectSameOutputs, operators, randomTensor, storedBytes } from './clean-up-oracle.js';

/** One step: which operator, which earlier values it reads, a free number for axes and constants. */
interface Step {
  readonly kind: number;
  readonly left: number;
  readonly right: number;
  readonly detail: number;
}

/** Every value of the random graphs has shape [n, 2, 3]; steps that reshape, cut or permute come back to it. */
const dims = [2, 3];
const perms = [
  [0, 1, 2],
  [0, 2, 1],
] as const;

interface Parts {
  readonly nodes: NodeSpec[];
  readonly constants: Record<string, Tensor>;
}

type Writer = (step: Step, names: { left: string; right: string; out: string }, parts: Parts) => void;

const add = (parts: Parts, opType: string, inputs: string[], output: string, attributes: NodeSpec['attributes'] = {}): void => {
  parts.nodes.push({ opType, inputs, outputs: [output], attributes });
};

const writers: readonly Writer[] = [
  (step, { left, out }, parts) => add(parts, ['Relu', 'Neg', 'Sigmoid', 'Identity', 'Abs'][step.detail % 5] ?? 'Abs', [left], out),
  (step, { left, right, out }, parts) => add(parts, ['Add', 'Mul', 'Sub', 'Max'][step.detail % 4] ?? 'Add', [left, right], out),
  (step, { left, out }, parts) => {
    const shape = [[], [3], [2, 1], [1, 2, 3]][step.detail % 4] ?? [];
    const count = shape.reduce((product, size) => product * size, 1);
    const kind = ['Add', 'Mul', 'Sub', 'Div'][step.right % 4] ?? 'Add';
    const neutral = kind === 'Add' || kind === 'Sub' ? 0 : 1;
    parts.constants[`${out}_k`] =
      step.left % 2 === 0 ? randomTensor(shape, step.detail + 1) : float32Tensor(shape, new Float32Array(count).fill(neutral));
    add(parts, kind, [left, `${out}_k`], out);
  },
  (step, { left, out }, parts) => {
    const perm = attributeOf.ints(perms[step.detail % 2] ?? perms[0]);
    add(parts, 'Transpose', [left], `${out}_t`, { perm });
    add(parts, ['Exp', 'Identity', 'Softmax'][step.right % 3] ?? 'Exp', [`${out}_t`], `${out}_e`);
    add(parts, 'Transpose', [`${out}_e`], out, { perm });
  },
  (step, { left, out }, parts) => {
    const target = [
      [-1, 3, 2],
      [0, 6],
      [-1, 1, 2, 3],
      [0, 2, 3],
    ][step.detail % 4] ?? [-1, 6];
    parts.constants[`${out}_a`] = int64Tensor([target.length], target);
    parts.constants[`${out}_b`] = int64Tensor([3], [-1, ...dims]);
    add(parts, 'Reshape', [left, `${out}_a`], `${out}_r`);
    add(parts, step.right % 2 === 0 ? 'Tanh' : 'Identity', [`${out}_r`], `${out}_f`);
    add(parts, 'Reshape', [`${out}_f`, `${out}_b`], out);
  },
  (step, { left, right, out }, parts) => {
    const axis = 1 + (step.detail % 2);
    const size = dims[axis - 1] ?? 2;
    const start = step.detail % (size + 1);
    Object.assign(parts.constants, {
      [`${out}_s`]: int64Tensor([1], [start]),
      [`${out}_e`]: int64Tensor([1], [start + size]),
      [`${out}_x`]: int64Tensor([1], [axis]),
    });
    add(parts, 'Concat', [left, right], `${out}_c`, { axis: attributeOf.int(axis) });
    add(parts, 'Slice', [`${out}_c`, `${out}_s`, `${out}_e`, `${out}_x`], out);
  },
  (step, { left, out }, parts) => {
    const axis = 1 + (step.detail % 2);
    const size = dims[axis - 1] ?? 2;
    const indices = Array.from({ length: size }, (_, at) => (step.right % 2 === 0 ? at : size - 1 - at));
    parts.constants[`${out}_i`] = int64Tensor([size], indices);
    add(parts, 'Gather', [left, `${out}_i`], out, { axis: attributeOf.int(axis) });
  },
  (step, { left, out }, parts) => {
    add(parts, 'Shape', [left], `${out}_s`);
    parts.constants[`${out}_v`] = randomTensor([1, 1, 3], step.detail + 1);
    add(parts, 'Expand', [`${out}_v`, `${out}_s`], `${out}_w`);
    add(parts, 'Add', [left, `${out}_w`], out);
  },
  (step, { left, out }, parts) => {
    parts.constants[`${out}_w`] = randomTensor([3, 3], step.detail + 1);
    add(parts, 'Transpose', [`${out}_w`], `${out}_t`, { perm: attributeOf.ints([1, 0]) });
    add(parts, 'MatMul', [left, `${out}_t`], `${out}_m`);
    add(parts, 'Tanh', [`${out}_m`], out);
  },
  (_, { left, out }, parts) => {
    // The draw is multiplied by zero: it must stay in the graph without making the outputs random.
    parts.constants[`${out}_z`] = float32Tensor([], [0]);
    add(parts, 'RandomUniformLike', [left], `${out}_r`);
    add(parts, 'Mul', [`${out}_r`, `${out}_z`], `${out}_0`);
    add(parts, 'Add', [left, `${out}_0`], out);
  },
];

function randomModel(steps: readonly Step[], outputs: readonly number[]): Model {
  const names = ['x', 'v'];
  const parts: Parts = { nodes: [], constants: {} };
  for (const [index, step] of steps.entries()) {
    const out = `s${index}`;
    const pick = (choice: number): string => names[choice % names.length] ?? 'x';
    writers[step.kind % writers.length]?.(step, { left: pick(step.left), right: pick(step.right), out }, parts);
    names.push(out);
  }
  const returned = [...new Set([names.at(-1) ?? 'x', ...outputs.map((choice) => names[choice % names.length] ?? 'x')])].filter((name) =>
    name.startsWith('s'),
  );
  return buildModel({
    inputs: ['x', 'v'].map((name) => ({ name, shape: ['n', ...dims] })),
    outputs: returned.map((name) => ({ name, shape: null })),
    constants: parts.constants,
    nodes: parts.nodes,
  });
}

const step = fc.record({ kind: fc.nat(99), left: fc.nat(99), right: fc.nat(99), detail: fc.nat(99) });

/** Random draws that reach an output: dead ones may go. */
function liveDraws(model: Model): number {
  const live = new Set(model.graph.outputs.flatMap(({ producer }) => producer ?? []));
  for (const node of live) for (const input of node.inputs) if (input?.producer) live.add(input.producer);
  return [...live].filter(({ opType }) => opType === 'RandomUniformLike').length;
}

describe('random graphs', () => {
  test('outputs, random draws and sizes are kept, and a second run finds nothing to do', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), fc.array(fc.nat(99), { maxLength: 2 }), async (steps, outputs) => {
        const model = randomModel(steps, outputs);
        const result = await cleaned(model);
        await expectSameOutputs(result, [{ n: 1 }, { n: 3 }]);
        expect(operators(result.after).filter((opType) => opType === 'RandomUniformLike')).toHaveLength(liveDraws(model));
        expect(result.after.graph.nodes.length).toBeLessThanOrEqual(model.graph.nodes.length);
        expect(storedBytes(result.after)).toBeLessThanOrEqual(storedBytes(model) + 1024);
        expect(operators((await cleaned(result.after)).after)).toEqual(operators(result.after));
      }),
      { numRuns: 80, seed: 20_261_123 },
    );
  }, 60_000);
});
