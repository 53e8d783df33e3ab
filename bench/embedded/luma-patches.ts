/** Patches of low resolution with those of high resolution that lie over them: samples of one size, as training takes them. */
import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { concatenated } from '../../services/engine/ir/index.js';
import { float32Array, writeNpz } from '../../test/support/write-npz.js';
import type { Plane } from '../quantization/images.js';
import type { Pair } from './luma-pairs.js';

const FACTOR = 3;

export interface Patches {
  /** Pixels of low resolution on each side, and from one patch to the next. */
  readonly side: number;
  readonly stride: number;
}

type Place = readonly [x: number, y: number];

/** Flips, and turns by transposing: the pixel that stands at (x, y) afterwards; `last` is the largest x. */
const turns: readonly ((x: number, y: number, last: number) => Place)[] = [
  (x, y) => [x, y],
  (x, y, last) => [last - x, y],
  (x, y) => [y, x],
  (x, y, last) => [last - y, x],
];

/** Each patch turned four ways; a file that is there is not written again. */
export async function writePatches(path: string, all: readonly Pair[], { side, stride }: Patches): Promise<string> {
  if (existsSync(path)) return path;
  mkdirSync(dirname(path), { recursive: true });
  const [inputs, labels]: [Float32Array[], Float32Array[]] = [[], []];
  for (const { high, low } of all) {
    for (let top = 0; top + side <= low.height; top += stride) {
      for (let left = 0; left + side <= low.width; left += stride) {
        for (const turn of turns) {
          inputs.push(patch(low, { side, left, top }, turn));
          labels.push(patch(high, { side: FACTOR * side, left: FACTOR * left, top: FACTOR * top }, turn));
        }
      }
    }
  }
  await writeNpz(path, {
    input: float32Array([inputs.length, 1, side, side], concatenated(inputs)),
    labels: float32Array([labels.length, 1, FACTOR * side, FACTOR * side], concatenated(labels)),
  });
  return path;
}

interface Window {
  readonly side: number;
  readonly left: number;
  readonly top: number;
}

function patch(plane: Plane, { side, left, top }: Window, turn: (typeof turns)[number]): Float32Array {
  return Float32Array.from({ length: side * side }, (_, at) => {
    const [x, y] = turn(at % side, Math.floor(at / side), side - 1);
    return (plane.data[(top + y) * plane.width + left + x] ?? 0) / 255;
  });
}

/** Whole pictures, each in its own size. */
export async function writePictures(path: string, all: readonly Pair[]): Promise<string> {
  if (existsSync(path)) return path;
  mkdirSync(dirname(path), { recursive: true });
  const array = ({ width, height, data }: Plane) =>
    float32Array(
      [1, 1, height, width],
      Float32Array.from(data, (byte) => byte / 255),
    );
  const named = all.flatMap(({ low, high }, at) => [[`input_${at}`, array(low)] as const, [`labels_${at}`, array(high)] as const]);
  await writeNpz(path, Object.fromEntries(named));
  return path;
}
