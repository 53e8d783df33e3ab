/** Pictures of the benchmark: luma by its formula, resizing that keeps what it must, letterboxing by position. */
import { expect, test } from 'vitest';
import { letterboxBgr, luma, type Plane, resizeBicubic } from '../../../bench/quantization/images.js';

const plane = (width: number, height: number, value: (x: number, y: number) => number): Plane => ({
  width,
  height,
  data: Uint8Array.from({ length: width * height }, (_, index) => value(index % width, Math.floor(index / width))),
});

test('luma weighs red, green and blue by 0.299, 0.587 and 0.114', () => {
  const data = Uint8Array.from([255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255, 255, 255, 255, 255]);
  expect([...luma({ width: 4, height: 1, data }).data]).toEqual([76, 150, 29, 255]);
});

test('resizing to the same size changes nothing; a flat plane stays flat at any size', () => {
  const pattern = plane(7, 5, (x, y) => (37 * x + 91 * y) % 256);
  expect(resizeBicubic(pattern, 7, 5)).toEqual(pattern);
  for (const [width, height] of [
    [3, 4],
    [20, 11],
  ] as const) {
    expect(
      new Set(
        resizeBicubic(
          plane(7, 5, () => 93),
          width,
          height,
        ).data,
      ),
    ).toEqual(new Set([93]));
  }
});

test('a ramp stays a ramp when it is enlarged or shrunk', () => {
  const ramp = plane(32, 4, (x) => 4 * x);
  const half = resizeBicubic(ramp, 16, 4);
  for (let x = 2; x < 14; x++) expect(Math.abs((half.data[x] ?? 0) - 4 * (2 * x + 0.5))).toBeLessThanOrEqual(1);
  const double = resizeBicubic(ramp, 64, 4);
  for (let x = 6; x < 58; x++) expect(Math.abs((double.data[x] ?? 0) - 4 * (x / 2 - 0.25))).toBeLessThanOrEqual(1);
});

test('a letterboxed picture keeps its pixels in the upper left, blue first, and is grey elsewhere', () => {
  const data = Uint8Array.from([10, 20, 30, 255, 40, 50, 60, 255]);
  const values = letterboxBgr({ width: 2, height: 1, data }, 3);
  const planes = [0, 1, 2].map((channel) => [...values.subarray(channel * 9, channel * 9 + 9)]);
  const grey = Array.from({ length: 7 }, () => 114);
  expect(planes).toEqual([
    [30, 60, ...grey],
    [20, 50, ...grey],
    [10, 40, ...grey],
  ]);
});
