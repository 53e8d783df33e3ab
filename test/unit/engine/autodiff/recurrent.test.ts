/** LSTM, GRU and RNN in every direction and layout against central differences. */
import { describe, expect, test } from 'vitest';
import { vjp } from '../../../../services/engine/autodiff/vjp.js';
import { type Attribute, attributeOf, float32Values, type Model, type Tensor, type Value } from '../../../../services/engine/ir/index.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

const [T, B, I, H] = [4, 3, 2, 5];
const gates = { LSTM: 4, GRU: 3, RNN: 1 } as const;

interface Case {
  readonly opType: 'LSTM' | 'GRU' | 'RNN';
  readonly direction: 'forward' | 'reverse' | 'bidirectional';
  readonly layout?: number;
  readonly states?: boolean;
  readonly outputs: readonly string[];
  readonly linearBeforeReset?: number;
  /** Default 4. */
  readonly steps?: number;
}

const directions = ['forward', 'reverse', 'bidirectional'] as const;
const lstms = directions.flatMap((direction): Case[] => [
  { opType: 'LSTM', direction, outputs: ['y', 'yh', 'yc'], states: true },
  { opType: 'LSTM', direction, outputs: ['y'] },
  { opType: 'LSTM', direction, outputs: ['', 'yh'] },
]);
const grus = directions.flatMap((direction) =>
  [0, 1].flatMap((linearBeforeReset): Case[] => [
    { opType: 'GRU', direction, outputs: ['y', 'yh'], states: true, linearBeforeReset },
    { opType: 'GRU', direction, outputs: ['', 'yh'], linearBeforeReset },
  ]),
);

const rnns = directions.flatMap((direction): Case[] => [
  { opType: 'RNN', direction, outputs: ['y', 'yh'], states: true },
  { opType: 'RNN', direction, outputs: ['', 'yh'] },
]);

function layer({ opType, direction, states = false, outputs, linearBeforeReset = 0, steps = T }: Case): {
  model: Model;
  feeds: Record<string, Tensor>;
} {
  const D = direction === 'bidirectional' ? 2 : 1;
  const G = gates[opType];
  const shapes: Record<string, number[]> = {
    x: [steps, B, I],
    w: [D, G * H, I],
    r: [D, G * H, H],
    b: [D, 2 * G * H],
    ...(states ? { h0: [D, B, H], ...(opType === 'LSTM' ? { c0: [D, B, H] } : {}) } : {}),
  };
  const attributes: Record<string, Attribute> = {
    hidden_size: attributeOf.int(H),
    direction: attributeOf.string(direction),
    ...(opType === 'GRU' ? { linear_before_reset: attributeOf.int(linearBeforeReset) } : {}),
  };
  const model = buildModel({
    inputs: Object.entries(shapes).map(([name, shape]) => ({ name, shape })),
    outputs: outputs.filter((name) => name !== '').map((name) => ({ name, shape: null })),
    nodes: [
      {
        opType,
        inputs: ['x', 'w', 'r', 'b', '', ...(states ? ['h0', ...(opType === 'LSTM' ? ['c0'] : [])] : [])],
        outputs: [...outputs],
        attributes,
      },
    ],
  });
  const node = model.graph.nodes[0];
  for (const [at, name] of outputs.entries()) if (name === '') node?.setOutput(at, null);
  const feeds = Object.fromEntries(Object.entries(shapes).map(([name, dims], at) => [name, weights(dims, at + 1)]));
  return { model, feeds };
}

async function check(form: Case): Promise<void> {
  for (const { error, largest } of await checkGradients({ ...layer(form), elements: 30 })) {
    expect(largest).toBeGreaterThan(0.01);
    expect(error).toBeLessThan(3e-3);
  }
}

/** Values of the outputs of the layer. */
async function outputsOf(model: Model, feeds: Record<string, Tensor>, names: readonly string[]): Promise<Float32Array[]> {
  const runtime = createOrtRuntime({ scratch: await temporaryFolder(), threads: 1 });
  const session = await runtime.open(model);
  const found = await session.run(new Map(Object.entries(feeds)), names);
  await session.close();
  return names.map((name) => float32Values(found.get(name) as Tensor));
}

describe('LSTM', () => {
  test.each(lstms)('$direction, outputs $outputs, states given: $states', check);

  test.each(directions)('%s, a sequence too long to be written out', (direction) =>
    check({ opType: 'LSTM', direction, outputs: ['y', 'yh', 'yc'], states: true, steps: 130 }),
  );

  test.each(directions)('%s: steps that take the place of the kernel make what it makes', async (direction) => {
    const outputs = ['y', 'yh', 'yc'];
    const { model, feeds } = layer({ opType: 'LSTM', direction, outputs, states: true });
    const expected = await outputsOf(model, feeds, outputs);
    const [y] = model.graph.outputs as [Value];
    const shapes = new Map(Object.entries(feeds).map(([name, { dims }]) => [name, dims]));
    const wrt = model.graph.inputs.slice(0, 1);
    vjp({
      model,
      shapes: new Map([...shapes, ['y', [T, direction === 'bidirectional' ? 2 : 1, B, H]]]),
      cotangents: new Map([[y, y]]),
      wrt,
    });
    expect(model.graph.nodes.map(({ opType }) => opType)).not.toContain('LSTM');
    const found = await outputsOf(model, feeds, outputs);
    for (const [at, values] of expected.entries())
      for (const [index, value] of values.entries()) expect(found[at]?.[index]).toBeCloseTo(value, 6);
  });
});

describe('GRU', () => {
  test.each(grus)('$direction, outputs $outputs, states given: $states, linear_before_reset $linearBeforeReset', check);
});

describe('RNN', () => {
  test.each(rnns)('$direction, outputs $outputs, states given: $states', check);
});

test('what is rare is refused by name', async () => {
  const model = buildModel({
    inputs: [{ name: 'x', shape: [T, B, I] }],
    outputs: [{ name: 'y', shape: null }],
    constants: { w: weights([1, 4 * H, I], 1), r: weights([1, 4 * H, H], 2) },
    nodes: [
      {
        opType: 'LSTM',
        inputs: ['x', 'w', 'r'],
        outputs: ['y'],
        attributes: { hidden_size: attributeOf.int(H), clip: attributeOf.float(1) },
      },
    ],
  });
  await expect(checkGradients({ model, feeds: { x: weights([T, B, I], 1) } })).rejects.toThrow(
    'LSTM (node "y") has no gradient with clipped cells',
  );
});
