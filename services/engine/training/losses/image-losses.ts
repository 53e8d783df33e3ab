/** Losses of pictures: what squared errors blur away. */
import { EngineError } from '../../engine-errors.js';
import { attributeOf, elementCount, float32Tensor, type GraphWriter, type Value } from '../../ir/index.js';
import { type Feature, requireRoom } from './feature-losses.js';

const scalar = { keepdims: attributeOf.int(0) };

/**
 * mean over frequencies of |Re F| + |Im F|, F the orthonormal two-dimensional DFT of output - target (Cho et al., Rethinking
 * Coarse-to-Fine Approach in Single Image Deblurring, ICCV 2021, equation 5). F of real values is symmetric, so that half of the columns
 * tell all, and the inner ones count twice. Throws EngineError `recipe_invalid` for values without height and width.
 */
export function frequencyError(write: GraphWriter, { value: output, dims }: Feature, target: Value): Value {
  const [height, width] = dims.slice(-2);
  if (dims.length < 3 || !height || !width) {
    throw new EngineError('recipe_invalid', `Frequencies are of pictures [N, C, H, W]; this output is [${dims}].`);
  }
  const columns = Math.floor(width / 2) + 1;
  const wave = (rows: number, count: number, of: (angle: number) => number, scale = 1): Value => {
    const values = Float32Array.from(
      { length: rows * count },
      (_, at) => scale * of((2 * Math.PI * ((Math.floor(at / count) * (at % count)) % rows)) / rows),
    );
    return write.constant(float32Tensor([rows, count], values));
  };
  const across = 1 / Math.sqrt(height * width);
  const error = write.node('Sub', [output, target]);
  const real = write.node('MatMul', [error, wave(width, columns, Math.cos, across)]);
  const imaginary = write.node('MatMul', [error, wave(width, columns, Math.sin, across)]);
  const [cosines, sines] = [wave(height, height, Math.cos), wave(height, height, Math.sin)];
  const size = (sign: 'Add' | 'Sub', left: Value, right: Value): Value =>
    write.node('Abs', [write.node(sign, [write.node('MatMul', [cosines, left]), write.node('MatMul', [sines, right])])]);
  const sizes = write.node('Add', [size('Sub', real, imaginary), size('Add', imaginary, real)]);
  const twins = Float32Array.from({ length: columns }, (_, at) => (at === 0 || 2 * at === width ? 1 : 2));
  const counted = write.node('Mul', [sizes, write.constant(float32Tensor([columns], twins))]);
  return write.node('Mul', [write.node('ReduceSum', [counted], scalar), write.float(1 / elementCount(dims))]);
}

/**
 * FAKD = mean |A_s - A_t|, A = F^T F over the positions of a map whose columns of channels have norm 1 (He et al., FAKD: Feature-Affinity
 * Based Knowledge Distillation for Efficient Image Super-Resolution, ICIP 2020): any widths, equal spatial sizes.
 */
export function spatialAffinity(write: GraphWriter, student: Feature, teacher: Feature): Value {
  const affinity = ({ value, dims }: Feature): Value => {
    const [samples = 1, channels = 1, ...positions] = dims;
    requireRoom('affinity', samples * elementCount(positions) ** 2);
    const map = write.node('Reshape', [value, write.ints([samples, channels, elementCount(positions)])]);
    const squares = write.node('ReduceSum', [write.node('Mul', [map, map]), write.ints([1])], { keepdims: attributeOf.int(1) });
    const unit = write.node('Div', [map, write.node('Sqrt', [write.node('Add', [squares, write.float(1e-8)])])]);
    return write.node('MatMul', [write.node('Transpose', [unit], { perm: attributeOf.ints([0, 2, 1]) }), unit]);
  };
  return write.node('ReduceMean', [write.node('Abs', [write.node('Sub', [affinity(student), affinity(teacher)])])], scalar);
}
