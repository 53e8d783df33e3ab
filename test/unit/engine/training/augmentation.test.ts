/** Augmentation: the same bits for the same seed, epoch and sample, and nothing but what each kind promises. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AugmentationBatch,
  type AugmentationOptions,
  createAugmentation,
} from '../../../../services/engine/training/augmentation/augmentation.js';

const CHANNELS = 2;
const HEIGHT = 5;
const WIDTH = 6;
const IMAGE = CHANNELS * HEIGHT * WIDTH;

/** Every value tells where it was: no two are alike, none is zero. */
function images(samples: readonly number[]): AugmentationBatch {
  const values = Float32Array.from({ length: samples.length * IMAGE }, (_, at) => 1 + at);
  return { values, dims: [samples.length, CHANNELS, HEIGHT, WIDTH], samples };
}

function series(samples: readonly number[], length = 8): AugmentationBatch {
  const values = Float32Array.from({ length: samples.length * length * 2 }, (_, at) => 1 + at);
  return { values, dims: [samples.length, length, 2], samples };
}

const seeds = fc.record({ seed: fc.integer(), epoch: fc.nat(500), sample: fc.nat(100_000) });

/** The one image of `sample` after `options`, and before. */
function augmentedImage(options: AugmentationOptions, { seed, epoch, sample }: { seed: number; epoch: number; sample: number }) {
  const before = images([sample]);
  return { before: [...before.values], after: [...createAugmentation([options], seed).apply(before, epoch).values] };
}

/** Pixel of the image with a border of zeros of any width. */
function pixel(image: readonly number[], channel: number, y: number, x: number): number {
  return y < 0 || y >= HEIGHT || x < 0 || x >= WIDTH ? 0 : (image[(channel * HEIGHT + y) * WIDTH + x] ?? Number.NaN);
}

function imageOf(at: (channel: number, y: number, x: number) => number): number[] {
  return Array.from({ length: IMAGE }, (_, place) =>
    at(Math.floor(place / (HEIGHT * WIDTH)), Math.floor(place / WIDTH) % HEIGHT, place % WIDTH),
  );
}

const isOneOf = (found: readonly number[], expected: readonly (readonly number[])[]): boolean =>
  expected.some((each) => each.every((value, at) => Object.is(value, found[at])));

describe('images', () => {
  test('flip: the image or its mirror image', () => {
    fc.assert(
      fc.property(seeds, (place) => {
        const { before, after } = augmentedImage({ name: 'flip' }, place);
        expect(isOneOf(after, [before, imageOf((c, y, x) => pixel(before, c, y, WIDTH - 1 - x))])).toBe(true);
      }),
    );
  });

  test('crop: a window of the image with its border, in all channels the same', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 8 }), (place, padding) => {
        const { before, after } = augmentedImage({ name: 'crop', padding }, place);
        const shifts = Array.from({ length: 2 * padding + 1 }, (_, at) => at - padding);
        const windows = shifts.flatMap((down) => shifts.map((right) => imageOf((c, y, x) => pixel(before, c, y + down, x + right))));
        expect(isOneOf(after, windows)).toBe(true);
      }),
    );
  });

  test('cutout: zeros in a square around a pixel, all else untouched', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 8 }), (place, size) => {
        const { before, after } = augmentedImage({ name: 'cutout', size }, place);
        const half = Math.floor(size / 2);
        const covers = (at: number, centre: number): boolean => at >= centre - half && at < centre - half + size;
        const holes = Array.from({ length: HEIGHT * WIDTH }, (_, centre) =>
          imageOf((c, y, x) => (covers(y, Math.floor(centre / WIDTH)) && covers(x, centre % WIDTH) ? 0 : pixel(before, c, y, x))),
        );
        expect(isOneOf(after, holes)).toBe(true);
      }),
    );
  });

  test.each<[AugmentationOptions, number]>([
    [{ name: 'flip' }, 2],
    [{ name: 'crop', padding: 2 }, 25],
    [{ name: 'cutout', size: 2 }, HEIGHT * WIDTH],
  ])('%o gives every outcome, about equally often', (options, outcomes) => {
    const counts = new Map<string, number>();
    const draws = outcomes * 200;
    for (let sample = 0; sample < draws; sample++) {
      const key = augmentedImage(options, { seed: 5, epoch: sample % 3, sample }).after.join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(counts.size).toBe(outcomes);
    expect(Math.min(...counts.values())).toBeGreaterThan(140);
    expect(Math.max(...counts.values())).toBeLessThan(265);
  });
});

/** A picture `factor` times the size of the image: each pixel repeated, so that it follows the image wherever that goes. */
function enlarged(image: readonly number[], factor: number): number[] {
  const [height, width] = [factor * HEIGHT, factor * WIDTH];
  return Array.from({ length: CHANNELS * height * width }, (_, place) => {
    const [channel, y, x] = [Math.floor(place / (height * width)), Math.floor(place / width) % height, place % width];
    return pixel(image, channel, Math.floor(y / factor), Math.floor(x / factor));
  });
}

describe('targets that are pictures', () => {
  const paired = (before: AugmentationBatch, factor: number): AugmentationBatch => ({
    ...before,
    targets: Float32Array.from(enlarged([...before.values], factor)),
    targetDims: [1, CHANNELS, factor * HEIGHT, factor * WIDTH],
  });

  test.each<AugmentationOptions>([{ name: 'flip' }, { name: 'crop', padding: 3 }])('%o moves them with the sample', (options) => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 4 }), ({ seed, epoch, sample }, factor) => {
        const { values, targets } = createAugmentation([options], seed).apply(paired(images([sample]), factor), epoch);
        expect([...(targets ?? [])]).toEqual(enlarged([...values], factor));
      }),
    );
  });

  test('crop: rows and columns of the target by plain slicing, the factor times the shift of the sample', () => {
    const [factor, padding] = [3, 2];
    for (let sample = 0; sample < 40; sample++) {
      const before = images([sample]);
      const target = Float32Array.from({ length: factor * factor * IMAGE }, (_, at) => 1000 + at);
      const batch = { ...before, targets: target, targetDims: [1, CHANNELS, factor * HEIGHT, factor * WIDTH] };
      const after = createAugmentation([{ name: 'crop', padding }], 7).apply(batch, 0);
      /** A pixel in the middle is never lost: where it went tells the shift. */
      const place = after.values.indexOf(before.values[2 * WIDTH + 2] ?? 0);
      const [down, right] = [2 - Math.floor(place / WIDTH), 2 - (place % WIDTH)];
      const [height, width] = [factor * HEIGHT, factor * WIDTH];
      const rows = Array.from({ length: CHANNELS * height }, (_, row) => [...target.slice(row * width, (row + 1) * width)]);
      const moved = Array.from({ length: CHANNELS }, (_, channel) => rows.slice(channel * height, (channel + 1) * height)).flatMap(
        (plane) =>
          plane.flatMap((_, y) => {
            const source = plane[y + factor * down] ?? Array.from({ length: width }, () => 0);
            return source.map((_, x) => source[x + factor * right] ?? 0);
          }),
      );
      expect([...(after.targets ?? [])]).toEqual(moved);
    }
  });

  test('cutout and noise leave them whole, and targets of another form are left where they are', () => {
    const batch = paired(images([5]), 2);
    const { targets } = createAugmentation(
      [
        { name: 'cutout', size: 3 },
        { name: 'noise', deviation: 1 },
      ],
      1,
    ).apply(batch, 0);
    expect(targets).toEqual(batch.targets);
    const odd = { ...batch, targetDims: [1, CHANNELS, 2 * HEIGHT + 1, 2 * WIDTH] };
    for (let epoch = 0; epoch < 4; epoch++)
      expect(createAugmentation([{ name: 'flip' }], 1).apply(odd, epoch).targets).toEqual(batch.targets);
  });
});

describe('series', () => {
  test('jitter: the window a few steps earlier or later, its ends repeated', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 12 }), ({ seed, epoch, sample }, steps) => {
        const before = series([sample]);
        const { values } = createAugmentation([{ name: 'jitter', steps }], seed).apply(before, epoch);
        const at = (time: number, feature: number): number => before.values[Math.min(Math.max(time, 0), 7) * 2 + feature] ?? Number.NaN;
        const shifts = Array.from({ length: 2 * steps + 1 }, (_, index) => index - steps);
        const windows = shifts.map((shift) => Array.from({ length: 16 }, (_, place) => at(Math.floor(place / 2) + shift, place % 2)));
        expect(isOneOf([...values], windows)).toBe(true);
      }),
    );
  });

  test('noise: mean 0 and the given deviation', () => {
    const samples = Array.from({ length: 1000 }, (_, at) => at);
    const before = { values: new Float32Array(8000), dims: [1000, 4, 2], samples };
    const { values } = createAugmentation([{ name: 'noise', deviation: 3 }], 1).apply(before, 0);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    /** Four standard errors: 3 / sqrt(8000), and 9 sqrt(2 / 8000). */
    expect(Math.abs(mean)).toBeLessThan(0.134);
    expect(Math.abs(variance - 9)).toBeLessThan(0.57);
  });
});

describe('mixup', () => {
  const mixup = { name: 'mixup', alpha: 0.4 } as const;

  test('each row is its own and its neighbour in one share, and so are the targets', () => {
    fc.assert(
      fc.property(fc.integer(), fc.nat(100), fc.integer({ min: 1, max: 6 }), (seed, epoch, count) => {
        const samples = Array.from({ length: count }, (_, at) => at * 3);
        const before = {
          ...series(samples),
          targets: Float32Array.from({ length: count * count }, (_, at) => (at % (count + 1) === 0 ? 1 : 0)),
        };
        const after = createAugmentation([mixup], seed).apply(before, epoch);
        for (let row = 0; row < count; row++) {
          const next = (row + 1) % count;
          const share = after.targets?.[row * count + row] ?? Number.NaN;
          expect(share).toBeGreaterThanOrEqual(0.5);
          if (count > 1) expect(after.targets?.[row * count + next]).toBeCloseTo(1 - share, 6);
          for (let at = 0; at < 16; at++) {
            const [own, other] = [before.values[row * 16 + at] ?? 0, before.values[next * 16 + at] ?? 0];
            expect(after.values[row * 16 + at]).toBeCloseTo(share * own + (1 - share) * other, 3);
          }
        }
      }),
    );
  });

  test('the last row takes from the first', () => {
    const before = { ...series([4, 5, 6]), targets: Float32Array.of(1, 0, 0) };
    const lent = Array.from({ length: 20 }, (_, seed) => createAugmentation([mixup], seed).apply(before, 0).targets?.[2] ?? 0);
    expect(Math.max(...lent)).toBeGreaterThan(0.1);
  });

  test('shares are those of a Beta distribution folded at one half', () => {
    const count = 20_000;
    const samples = Array.from({ length: count }, (_, at) => at);
    const values = Float32Array.from({ length: count }, (_, at) => at % 2);
    const mixed = createAugmentation([{ name: 'mixup', alpha: 2 }], 1).apply({ values, dims: [count, 1], samples }, 0).values;
    const shares = [...mixed].map((value, at) => (at % 2 === 1 ? value : 1 - value));
    /** Of Beta(2, 2), density 6 x (1 - x): E max(x, 1 - x) = 2 (1/4 of the integral) = 11/16. */
    expect(shares.reduce((sum, share) => sum + share, 0) / count).toBeCloseTo(11 / 16, 2);
  });

  test('only mixup changes targets', () => {
    expect(createAugmentation([{ name: 'flip' }, { name: 'noise', deviation: 1 }], 1).mixesTargets).toBe(false);
    expect(createAugmentation([{ name: 'flip' }, mixup], 1).mixesTargets).toBe(true);
  });
});

const everything: readonly AugmentationOptions[] = [
  { name: 'flip' },
  { name: 'crop', padding: 2 },
  { name: 'cutout', size: 2 },
  { name: 'noise', deviation: 0.1 },
];

describe('every augmentation', () => {
  test('is a function of seed, epoch and sample: company and place in the batch do not matter', () => {
    fc.assert(
      fc.property(fc.integer(), fc.nat(100), fc.uniqueArray(fc.nat(1000), { minLength: 2, maxLength: 6 }), (seed, epoch, samples) => {
        const batch = images(samples);
        const augmentation = createAugmentation(everything, seed);
        const { values } = augmentation.apply(batch, epoch);
        expect(createAugmentation(everything, seed).apply(batch, epoch).values).toEqual(values);
        for (const [row, sample] of samples.entries()) {
          const own = batch.values.slice(row * IMAGE, (row + 1) * IMAGE);
          const alone = augmentation.apply({ values: own, dims: [1, CHANNELS, HEIGHT, WIDTH], samples: [sample] }, epoch);
          expect(alone.values).toEqual(values.slice(row * IMAGE, (row + 1) * IMAGE));
        }
      }),
    );
  });

  test('differs between epochs, samples and seeds', () => {
    const outcomes = [
      { seed: 1, epoch: 0, sample: 0 },
      { seed: 1, epoch: 1, sample: 0 },
      { seed: 1, epoch: 0, sample: 1 },
      { seed: 2, epoch: 0, sample: 0 },
    ].map((place) => augmentedImage({ name: 'noise', deviation: 1 }, place).after.join());
    expect(new Set(outcomes).size).toBe(4);
  });

  test('leaves the batch that it was given alone', () => {
    const batch = { ...images([1, 2, 3]), targets: Float32Array.of(1, 0, 0) };
    createAugmentation([...everything, { name: 'mixup', alpha: 1 }], 1).apply(batch, 0);
    expect(batch).toEqual({ ...images([1, 2, 3]), targets: Float32Array.of(1, 0, 0) });
  });

  test.each<AugmentationOptions>([
    { name: 'crop', padding: 0 },
    { name: 'cutout', size: 1.5 },
    { name: 'jitter', steps: -1 },
    { name: 'noise', deviation: 0 },
    { name: 'mixup', alpha: 3 },
  ])('%o is refused', (options) => {
    expect(() => createAugmentation([options], 1)).toThrow(expect.objectContaining({ code: 'recipe_invalid' }));
  });

  test.each<[AugmentationOptions, AugmentationBatch]>([
    [{ name: 'flip' }, series([1])],
    [{ name: 'crop', padding: 1 }, series([1])],
    [{ name: 'cutout', size: 1 }, series([1])],
    [{ name: 'jitter', steps: 1 }, images([1])],
  ])('%o names the axes that it takes', (options, batch) => {
    const apply = () => createAugmentation([options], 1).apply(batch, 0);
    for (let seed = 0; seed < 3; seed++) expect(apply).toThrow(/takes samples of/);
  });
});
