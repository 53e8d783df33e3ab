/** Super-resolution x3 as published networks are judged: luma of Set5, bicubic down by 3, peak signal to noise ratio without a border of 3 pixels. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { float32Tensor, float32Values, type Model } from '../../services/engine/ir/index.js';
import type { AccuracyJudge, MethodContext, RunSource, SampleRun } from '../../services/engine/method.js';
import type { Runtime } from '../../services/engine/runtime/execution-session.js';
import { luma, type Plane, readPicture, resizeBicubic } from '../quantization/images.js';
import { dataFolder } from '../quantization/subjects.js';
import type { Workbench } from '../quantization/workbench.js';
import type { SuperResolutionModel } from './superres-models.js';

const FACTOR = 3;
const BORDER = 3;

/** Pictures that a model is judged on, in the size that it takes. */
export interface Judged {
  readonly all: readonly Pair[];
  readonly side?: number;
}

export function judgedOn(all: readonly Pair[], { side }: SuperResolutionModel): Judged {
  return { all, ...(side === undefined ? {} : { side }) };
}

const T91_COUNT = 16;
/** Of models that take squares of 224 pixels, four times the pixels of a picture. */
const T91_COUNT_OF_SQUARES = 6;

/** Ranges, products of inputs and noise: every third picture of T91. */
export const calibrationPairs = (subject: SuperResolutionModel): Pair[] =>
  pairs(join(dataFolder, 'superres/T91'), { step: 3, count: countFor(subject) });
/** The loss of PSNR that widths are chosen by: other ones. */
export const judgingPairs = (subject: SuperResolutionModel): Pair[] =>
  pairs(join(dataFolder, 'superres/T91'), { from: 1, step: 3, ...(subject.side === undefined ? {} : { count: countFor(subject) }) });
export const testPairs = (): Pair[] => pairs(join(dataFolder, 'superres/Set5'));

function countFor({ side }: SuperResolutionModel): number {
  return side === undefined ? T91_COUNT : T91_COUNT_OF_SQUARES;
}

export function benchContext({ runtime, folder }: Workbench, subject: SuperResolutionModel): MethodContext {
  return {
    ...{ target: 'x64', objective: 'size', runtime, scratch: join(folder, 'scratch') },
    calibration: sourceOf(calibrationPairs(subject), 'input', subject.side),
    signal: new AbortController().signal,
    progress() {},
  };
}

/** Bytes of the picture and of its third. */
export interface Pair {
  readonly name: string;
  readonly high: Plane;
  readonly low: Plane;
}

/** Pictures `from`, `from + step` and so on of a folder, in order of their names. */
export function pairs(folder: string, { from = 0, step = 1, count = Number.POSITIVE_INFINITY } = {}): Pair[] {
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.png'))
    .sort();
  return names
    .filter((_, at) => at >= from && (at - from) % step === 0)
    .slice(0, count)
    .map((name) => {
      const high = cropped(luma(readPicture(join(folder, name))));
      return { name, high, low: resizeBicubic(high, high.width / FACTOR, high.height / FACTOR) };
    });
}

/** To a multiple of the factor. */
function cropped(plane: Plane): Plane {
  const [width, height] = [plane.width - (plane.width % FACTOR), plane.height - (plane.height % FACTOR)];
  return { width, height, data: region(plane, width, height) };
}

/** The upper left corner; beyond the plane its edge goes on. */
function region(plane: Plane, width: number, height: number): Uint8Array {
  return Uint8Array.from({ length: width * height }, (_, at) => {
    const [x, y] = [Math.min(plane.width - 1, at % width), Math.min(plane.height - 1, Math.floor(at / width))];
    return plane.data[y * plane.width + x] ?? 0;
  });
}

/** One picture per run, each in its own size. */
export function sourceOf(all: readonly Pair[], input: string, side?: number): RunSource {
  const feed = ({ low }: Pair): SampleRun => {
    const [width, height] = [side ?? low.width, side ?? low.height];
    const values = Float32Array.from(region(low, width, height), (byte) => byte / 255);
    return { feeds: new Map([[input, float32Tensor([1, 1, height, width], values)]]), rows: 1, sampleCount: 1 };
  };
  return {
    sampleCount: all.length,
    fixedBatch: 1,
    sampleBytes: 4 * Math.max(...all.map(({ low }) => low.width * low.height)),
    async *runs(_, limit = all.length) {
      for (const pair of all.slice(0, limit)) yield feed(pair);
    },
  };
}

/** Mean over the pictures, in dB. */
export async function psnr(runtime: Runtime, model: Model | string, { all, side }: Judged): Promise<number> {
  const session = await runtime.open(model);
  try {
    const source = sourceOf(all, session.inputs[0]?.name ?? '', side);
    let sum = 0;
    let at = 0;
    for await (const { feeds } of source.runs(1)) {
      const [output] = (await session.run(feeds)).values();
      const pair = all[at++];
      if (output && pair) sum += decibels(pair.high, float32Values(output), output.dims.at(-1) ?? 0);
    }
    return sum / all.length;
  } finally {
    await session.close();
  }
}

function decibels({ width, height, data }: Plane, values: Float32Array, stride: number): number {
  let error = 0;
  for (let y = BORDER; y < height - BORDER; y++) {
    for (let x = BORDER; x < width - BORDER; x++) {
      const value = Math.min(1, Math.max(0, values[y * stride + x] ?? 0));
      error += (value - (data[y * width + x] ?? 0) / 255) ** 2;
    }
  }
  return 10 * Math.log10(((width - 2 * BORDER) * (height - 2 * BORDER)) / error);
}

/** Loss of PSNR on pictures that are not those of the test. */
export function psnrJudge(runtime: Runtime, source: Model | string, how: Judged & { readonly maxDrop: number }): AccuracyJudge {
  let before: Promise<number> | undefined;
  return {
    metric: 'psnr',
    maxDrop: how.maxDrop,
    async drop(candidate) {
      before ??= psnr(runtime, source, how);
      return (await before) - (await psnr(runtime, candidate, how));
    },
  };
}

/** max |before - after| over all outputs of all pictures. */
export async function largestDifference(
  runtime: Runtime,
  { before, after }: { before: Model; after: Model },
  { all, side }: Judged,
): Promise<number> {
  const sessions = [await runtime.open(before), await runtime.open(after)] as const;
  try {
    let largest = 0;
    for await (const { feeds } of sourceOf(all, 'input', side).runs(1)) {
      const [expected, found] = await Promise.all(sessions.map(async (session) => [...(await session.run(feeds)).values()]));
      for (const [at, tensor] of (expected ?? []).entries()) {
        const other = found?.[at];
        const values = other ? float32Values(other) : new Float32Array();
        for (const [place, value] of float32Values(tensor).entries())
          largest = Math.max(largest, Math.abs(value - (values[place] ?? Number.POSITIVE_INFINITY)));
      }
    }
    return largest;
  } finally {
    for (const session of sessions) await session.close();
  }
}
