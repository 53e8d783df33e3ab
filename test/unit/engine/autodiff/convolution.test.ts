/** Convolutions of every form against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf } from '../../../../services/engine/ir/index.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

interface Form {
  readonly x: readonly number[];
  readonly w: readonly number[];
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  readonly pads?: readonly number[];
  readonly group?: number;
  readonly auto_pad?: string;
  readonly output_padding?: readonly number[];
  readonly output_shape?: readonly number[];
}

function attributesOf({ strides, dilations, pads, group, auto_pad, output_padding, output_shape }: Form): Record<string, Attribute> {
  const lists = { strides, dilations, pads, output_padding, output_shape };
  return {
    ...Object.fromEntries(Object.entries(lists).flatMap(([name, value]) => (value ? [[name, attributeOf.ints(value)]] : []))),
    ...(group ? { group: attributeOf.int(group) } : {}),
    ...(auto_pad ? { auto_pad: attributeOf.string(auto_pad) } : {}),
  };
}

async function check(opType: string, form: Form, outputs: number): Promise<void> {
  const model = buildModel({
    inputs: [
      { name: 'x', shape: form.x },
      { name: 'w', shape: form.w },
      { name: 'b', shape: [outputs] },
    ],
    outputs: [{ name: 'y', shape: null }],
    nodes: [{ opType, inputs: ['x', 'w', 'b'], outputs: ['y'], attributes: attributesOf(form) }],
  });
  const feeds = { x: weights(form.x, 1), w: weights(form.w, 2), b: weights([outputs], 3) };
  for (const { error, largest } of await checkGradients({ model, feeds, elements: 40 })) {
    expect(largest).toBeGreaterThan(0.05);
    expect(error).toBeLessThan(2e-3);
  }
}

const convs: readonly Form[] = [
  { x: [2, 3, 5, 6], w: [4, 3, 3, 3], pads: [1, 1, 1, 1] },
  { x: [2, 6, 5, 6], w: [4, 6, 3, 3], pads: [1, 1, 1, 1] },
  { x: [2, 6, 5, 6], w: [4, 6, 1, 1] },
  { x: [2, 6, 6, 8], w: [4, 6, 1, 1], strides: [2, 2] },
  { x: [2, 6, 7, 8], w: [4, 6, 3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  { x: [2, 6, 8, 8], w: [4, 6, 3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  { x: [2, 6, 9, 8], w: [4, 6, 3, 2], strides: [3, 2], pads: [0, 1, 1, 0] },
  { x: [2, 6, 9, 9], w: [4, 6, 3, 3], dilations: [2, 3], pads: [2, 2, 1, 3] },
  { x: [2, 6, 9, 9], w: [4, 6, 3, 3], dilations: [2, 2], strides: [2, 2], pads: [2, 2, 2, 2] },
  { x: [2, 6, 5, 5], w: [4, 6, 2, 2], pads: [3, 2, 3, 2] },
  { x: [2, 3, 8, 8], w: [5, 3, 4, 4], strides: [4, 4] },
  { x: [2, 6, 6, 5], w: [4, 3, 3, 3], pads: [1, 1, 1, 1], group: 2 },
  { x: [2, 12, 6, 5], w: [4, 6, 3, 3], strides: [2, 2], pads: [1, 1, 1, 1], group: 2 },
  { x: [2, 6, 6, 5], w: [6, 1, 3, 3], pads: [1, 1, 1, 1], group: 6 },
  { x: [2, 6, 6, 5], w: [12, 1, 3, 3], strides: [2, 1], pads: [1, 1, 1, 1], group: 6 },
  { x: [2, 6, 9, 8], w: [6, 1, 3, 2], strides: [2, 3], pads: [1, 0, 0, 1], group: 6 },
  { x: [3, 6, 9, 9], w: [6, 1, 3, 3], dilations: [2, 3], pads: [2, 3, 2, 1], group: 6 },
  { x: [1, 6, 9, 9], w: [6, 1, 3, 3], dilations: [2, 2], strides: [2, 2], pads: [2, 2, 2, 2], group: 6 },
  { x: [2, 6, 8, 8], w: [6, 1, 1, 3], strides: [3, 3], group: 6 },
  { x: [2, 6, 7, 6], w: [6, 1, 3, 4], strides: [2, 2], auto_pad: 'SAME_LOWER', group: 6 },
  { x: [2, 6, 5, 140], w: [6, 1, 3, 3], pads: [1, 1, 1, 1], group: 6 },
  { x: [2, 6, 9], w: [6, 1, 3], pads: [1, 1], group: 6 },
  { x: [2, 6, 6, 5], w: [4, 6, 3, 3], auto_pad: 'SAME_UPPER', strides: [2, 2] },
  { x: [2, 6, 6, 5], w: [4, 6, 2, 4], auto_pad: 'SAME_LOWER' },
  { x: [2, 6, 6, 5], w: [4, 6, 2, 4], auto_pad: 'VALID' },
  { x: [2, 6, 11], w: [4, 6, 3], pads: [1, 1] },
  { x: [2, 6, 11], w: [4, 6, 5], strides: [3], pads: [2, 1] },
  { x: [2, 6, 4, 5, 4], w: [3, 6, 2, 3, 2], pads: [0, 1, 1, 0, 1, 0] },
  { x: [2, 5, 4, 5, 4], w: [3, 5, 2, 2, 2], strides: [2, 1, 2] },
];

describe('Conv', () => {
  test.each(convs)('%j', (form) => check('Conv', form, form.w[0] ?? 1));
});

const transposes: readonly Form[] = [
  { x: [2, 6, 4, 5], w: [6, 4, 3, 3] },
  { x: [2, 6, 4, 5], w: [6, 4, 3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  { x: [2, 6, 4, 5], w: [6, 4, 3, 3], strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] },
  { x: [2, 6, 4, 5], w: [6, 4, 9, 9], strides: [3, 3], pads: [4, 4, 4, 4], output_padding: [2, 2] },
  { x: [2, 6, 4, 5], w: [6, 2, 3, 3], strides: [2, 2], group: 2 },
  { x: [2, 6, 4, 5], w: [6, 1, 3, 3], strides: [1, 2], group: 6, pads: [1, 1, 1, 1] },
  { x: [2, 6, 4, 5], w: [6, 1, 3, 3], strides: [2, 2], group: 6, pads: [1, 1, 1, 1], output_padding: [1, 1] },
  { x: [2, 6, 4, 5], w: [6, 4, 3, 2], dilations: [2, 1] },
  { x: [2, 6, 7], w: [6, 4, 4], strides: [2], pads: [1, 1] },
  { x: [2, 6, 4, 4], w: [6, 4, 3, 3], strides: [2, 2], output_shape: [8, 8] },
  { x: [2, 6, 4, 4], w: [6, 4, 3, 3], strides: [2, 2], auto_pad: 'SAME_UPPER' },
  { x: [2, 6, 3, 4, 3], w: [6, 2, 2, 2, 2], strides: [2, 1, 2] },
];

describe('ConvTranspose', () => {
  test.each(transposes)('%j', (form) => check('ConvTranspose', form, (form.w[1] ?? 1) * (form.group ?? 1)));
});

/** Sizes drawn so that every kernel fits: pads stay below its reach. */
function drawn(seed: number, isTransposed: boolean): Form {
  const random = pseudoRandom(seed);
  const one = <T>(...choices: readonly T[]): T => choices[random.below(choices.length)] as T;
  const axes = Array.from({ length: one(1, 2, 2, 2, 3) });
  const group = one(1, 1, 1, 2, 4);
  const [inputs, outputs] = [one(1, 3, 4, 8, 16), one(1, 2, 5, 8, 16)];
  const kernel = axes.map(() => one(1, 2, 3, 3, 5));
  const stride = one(1, 2, 3);
  const strides = axes.map(() => (one(true, false) ? stride : one(1, 2)));
  const dilations = axes.map(() => one(1, 1, 1, 2));
  const reach = kernel.map((size, axis) => (size - 1) * (dilations[axis] ?? 1) + 1);
  const mode = dilations.every((size) => size === 1) ? one('', '', 'SAME_UPPER', 'SAME_LOWER', 'VALID') : '';
  return {
    ...{ strides, dilations, group },
    x: [one(1, 2, 3), group * inputs, ...reach.map((size) => size + random.below(5))],
    w: isTransposed ? [group * inputs, outputs, ...kernel] : [group * outputs, inputs, ...kernel],
    ...(mode ? { auto_pad: mode } : { pads: [...reach, ...reach].map((size) => random.below(size)) }),
    ...(isTransposed && !mode ? { output_padding: strides.map((size) => random.below(size)) } : {}),
  };
}

describe('drawn at random', () => {
  const seeds = Array.from({ length: 60 }, (_, at) => at + 1);
  test.each(seeds)('Conv %i', async (seed) => {
    const form = drawn(seed, false);
    await check('Conv', form, form.w[0] ?? 1);
  });
  test.each(seeds.slice(0, 30))('ConvTranspose %i', async (seed) => {
    const form = drawn(seed, true);
    await check('ConvTranspose', form, (form.w[1] ?? 1) * (form.group ?? 1));
  });
});
