/** Augmentation of images: samples of [C, H, W], all channels alike. A target that is a picture moves with its sample. */
import type { PseudoRandom } from '../../runtime/pseudo-random.js';
import { type AugmentedRow, type RowAugmentation, requireAxes, requireCount } from './row-augmentation.js';

/** The image or its mirror image, each with probability one half. */
export interface FlipOptions {
  readonly name: 'flip';
}

/** A window of the image's own size out of the image with a border of zeros: a shift by up to `padding` pixels. */
export interface CropOptions {
  readonly name: 'crop';
  readonly padding: number;
}

/** A square of zeros of `size` pixels a side around any pixel; what lies outside the image is lost. A target stays whole. */
export interface CutoutOptions {
  readonly name: 'cutout';
  readonly size: number;
}

interface ImageSize {
  readonly height: number;
  readonly width: number;
}

function imageSize(name: string, dims: readonly number[]): ImageSize {
  requireAxes(name, dims, ['channels', 'height', 'width']);
  return { height: dims[1] ?? 0, width: dims[2] ?? 0 };
}

export function flip({ name }: FlipOptions): RowAugmentation {
  return (row, random) => {
    const size = imageSize(name, row.dims);
    if (random.uniform() < 0.5) return;
    for (const { values, width } of pictures(row, size))
      for (let line = 0; line < values.length; line += width) values.subarray(line, line + width).reverse();
  };
}

/**
 * out[y][x] = padded[y + dy][x + dx], dy and dx uniform from 0 to 2 padding (Krizhevsky and others 2012; He and others 2016); a target
 * f times the size moves by f dy and f dx.
 */
export function crop({ name, padding }: CropOptions): RowAugmentation {
  requireCount(name, 'padding', padding);
  return (row, random) => {
    const size = imageSize(name, row.dims);
    const down = random.below(2 * padding + 1) - padding;
    const right = random.below(2 * padding + 1) - padding;
    for (const { values, height, width, factor } of pictures(row, size)) {
      const plane = new Float32Array(height * width);
      for (let start = 0; start < values.length; start += plane.length) {
        const target = values.subarray(start, start + plane.length);
        plane.set(target);
        shiftPlane(plane, target, { height, width, down: factor * down, right: factor * right });
      }
    }
  };
}

/** The sample, and the target where it is a picture, too. */
function pictures(
  { values, target }: AugmentedRow,
  { height, width }: ImageSize,
): (ImageSize & { values: Float32Array; factor: number })[] {
  const own = { values, height, width, factor: 1 };
  return target ? [own, { ...target, height: target.factor * height, width: target.factor * width }] : [own];
}

/** target[y][x] = plane[y + down][x + right]; zero outside. */
function shiftPlane(
  plane: Float32Array,
  target: Float32Array,
  { height, width, down, right }: ImageSize & { down: number; right: number },
): void {
  target.fill(0);
  const left = Math.max(0, -right);
  const end = Math.min(width, width - right);
  if (left >= end) return;
  for (let y = Math.max(0, -down); y < Math.min(height, height - down); y++) {
    const from = (y + down) * width + right;
    target.set(plane.subarray(from + left, from + end), y * width + left);
  }
}

/** DeVries and Taylor 2017. */
export function cutout({ name, size }: CutoutOptions): RowAugmentation {
  requireCount(name, 'size', size);
  return ({ values, dims }, random) => {
    const { height, width } = imageSize(name, dims);
    const [top, bottom] = stretch(height, size, random);
    const [left, right] = stretch(width, size, random);
    for (let plane = 0; plane < values.length; plane += height * width)
      for (let y = top; y < bottom; y++) values.fill(0, plane + y * width + left, plane + y * width + right);
  };
}

/** `size` places around any of 0 to `length` - 1, cut off at the ends. */
function stretch(length: number, size: number, random: PseudoRandom): [start: number, end: number] {
  const start = random.below(length) - Math.floor(size / 2);
  return [Math.max(0, start), Math.min(length, start + size)];
}
