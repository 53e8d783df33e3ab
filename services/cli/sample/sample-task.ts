/** A made-up classification task: ten classes, each a prototype; a sample is a prototype under noise. Seeded, so always the same. */

export const sampleTask = { features: 256, classes: 10, seed: 20_261_123 } as const;

/** Standard deviation of the noise; the prototypes have deviation 1. Chosen so that the sample model errs now and then. */
const NOISE = 2.25;

export interface LabelledSamples {
  /** float32[count, features], row-major. */
  readonly features: Float32Array;
  readonly labels: Int32Array;
  readonly count: number;
}

/** mulberry32 (T. Ettinger, public domain): a small seeded generator of numbers in [0, 1). */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Normal variates by Box and Muller (1958): sqrt(-2 ln u1) cos(2 pi u2). */
export function normalSource(seed: number): () => number {
  const random = randomSource(seed);
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** `count` samples, classes in turn; another `seed` gives other samples of the same task. */
export function drawSamples(count: number, seed: number): LabelledSamples {
  const { features: width, classes } = sampleTask;
  const prototype = normalSource(sampleTask.seed);
  const prototypes = Float32Array.from({ length: classes * width }, prototype);
  const noise = normalSource(seed);
  const features = new Float32Array(count * width);
  const labels = Int32Array.from({ length: count }, (_, sample) => sample % classes);
  for (let index = 0; index < features.length; index++) {
    const label = labels[Math.floor(index / width)] ?? 0;
    features[index] = (prototypes[label * width + (index % width)] ?? 0) + NOISE * noise();
  }
  return { features, labels, count };
}
