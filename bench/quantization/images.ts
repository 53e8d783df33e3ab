/** Pictures as the models of the benchmark take them: decoded, luma, resized as Pillow does, letterboxed. */
import { readFileSync } from 'node:fs';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';

/** Rows of RGBA bytes. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** One channel of bytes. */
export interface Plane {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

export function readPicture(path: string): Picture {
  const bytes = readFileSync(path);
  return path.endsWith('.png') ? PNG.sync.read(bytes) : jpeg.decode(bytes, { useTArray: true, formatAsRGBA: true });
}

/** Y = 0.299 R + 0.587 G + 0.114 B (JFIF). */
export function luma({ width, height, data }: Picture): Plane {
  const at = (index: number): number => data[index] ?? 0;
  const y = Uint8Array.from({ length: width * height }, (_, pixel) =>
    Math.round(0.299 * at(4 * pixel) + 0.587 * at(4 * pixel + 1) + 0.114 * at(4 * pixel + 2)),
  );
  return { width, height, data: y };
}

/** Keys 1981 with a = -1/2. */
function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

interface Taps {
  readonly first: number;
  readonly weights: readonly number[];
}

/** For each target pixel the source pixels it is made of; a smaller target widens the kernel, so that nothing is skipped. */
function tapsOf(source: number, target: number): readonly Taps[] {
  const scale = source / target;
  const stretch = Math.max(1, scale);
  return Array.from({ length: target }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.round(center - 2 * stretch));
    const last = Math.min(source, Math.round(center + 2 * stretch));
    const raw = Array.from({ length: last - first }, (_, tap) => cubic((first + tap + 0.5 - center) / stretch));
    const sum = raw.reduce((total, weight) => total + weight, 0);
    return { first, weights: raw.map((weight) => weight / sum) };
  });
}

/** Two passes with bytes between them, as Pillow's BICUBIC does. */
export function resizeBicubic(plane: Plane, width: number, height: number): Plane {
  const across = { width, height: plane.height, data: new Uint8Array(width * plane.height) };
  const columns = tapsOf(plane.width, width);
  for (let y = 0; y < plane.height; y++) {
    for (const [x, taps] of columns.entries()) across.data[y * width + x] = weighted(plane.data, taps, { start: y * plane.width, step: 1 });
  }
  const result = { width, height, data: new Uint8Array(width * height) };
  for (const [y, taps] of tapsOf(plane.height, height).entries()) {
    for (let x = 0; x < width; x++) result.data[y * width + x] = weighted(across.data, taps, { start: x, step: width });
  }
  return result;
}

function weighted(data: Uint8Array, { first, weights }: Taps, { start, step }: { start: number; step: number }): number {
  let sum = 0;
  for (const [tap, weight] of weights.entries()) sum += weight * (data[start + (first + tap) * step] ?? 0);
  return Math.min(255, Math.max(0, Math.round(sum)));
}

/** The picture in the upper left corner of a square of grey 114: planes B, G, R, 0 to 255. */
export function letterboxBgr({ width, height, data }: Picture, size: number): Float32Array {
  const values = new Float32Array(3 * size * size).fill(114);
  for (let y = 0; y < Math.min(height, size); y++) {
    for (let x = 0; x < Math.min(width, size); x++) {
      for (let channel = 0; channel < 3; channel++) {
        values[channel * size * size + y * size + x] = data[4 * (y * width + x) + (2 - channel)] ?? 0;
      }
    }
  }
  return values;
}
