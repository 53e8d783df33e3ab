/** Inputs of layers that hang together, as activations do: a few hidden causes, some noise, and means that are not zero. */
import { float32Values } from '../../../../services/engine/ir/index.js';
import { noise } from '../quantization/method-fixtures.js';

export interface CorrelatedInputs {
  readonly count: number;
  readonly depth: number;
  readonly seed: number;
}

/** [count, depth] */
export function correlatedInputs({ count, depth, seed }: CorrelatedInputs): Float32Array {
  const causes = Math.max(1, Math.ceil(depth / 4));
  const hidden = float32Values(noise([count, causes], seed));
  const mixing = float32Values(noise([causes, depth], seed + 1));
  const own = float32Values(noise([count, depth], seed + 2, 0.3));
  return own.map((value, at) => {
    const [row, column] = [Math.floor(at / depth), at % depth];
    let sum = 0.2 + value;
    for (let cause = 0; cause < causes; cause += 1) sum += (hidden[row * causes + cause] ?? 0) * (mixing[cause * depth + column] ?? 0);
    return sum * (1 + (column % 3));
  });
}

/** X^T X in float64, [depth, depth]. */
export function gramOf(inputs: Float32Array, depth: number): Float64Array {
  const gram = new Float64Array(depth * depth);
  for (let row = 0; row < inputs.length; row += depth) {
    for (let i = 0; i < depth; i += 1) {
      for (let j = 0; j < depth; j += 1) gram[i * depth + j] = (gram[i * depth + j] ?? 0) + (inputs[row + i] ?? 0) * (inputs[row + j] ?? 0);
    }
  }
  return gram;
}

/** sum over all inputs x of |(W - W') x|^2, from the inputs themselves. */
export function outputError(inputs: Float32Array, before: ArrayLike<number>, after: ArrayLike<number>, depth: number): number {
  let error = 0;
  for (let row = 0; row < inputs.length; row += depth) {
    for (let output = 0; output < before.length; output += depth) {
      let difference = 0;
      for (let k = 0; k < depth; k += 1) difference += ((before[output + k] ?? 0) - (after[output + k] ?? 0)) * (inputs[row + k] ?? 0);
      error += difference ** 2;
    }
  }
  return error;
}
