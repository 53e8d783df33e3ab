/** From the weights of one layer to codes and scales: what is known of its inputs decides how. */

import type { GramMatrix } from '../../normal-equations/gram-matrices.js';
import { quadraticForm } from '../../normal-equations/linear-algebra.js';
import { adaroundRound } from '../adaround.js';
import { gptqRound } from '../gptq.js';
import { codeLimits, codeOf, largestScale, searchScale } from './scale-search.js';

/** 'rtn': largest weight, nearest code. 'mse': least squared error of the weights. The others need inputs. */
export type RoundingAlgorithm = 'rtn' | 'mse' | 'hessian' | 'gptq' | 'adaround' | 'block-reconstruction';

export interface LayerWeights {
  /** [channels, depth]; channel c belongs to group floor(c / (channels / groups)). */
  readonly rows: Float64Array;
  readonly channels: number;
  readonly depth: number;
  readonly bits: number;
}

export interface RoundedLayer {
  /** [channels, depth] */
  readonly codes: Int32Array;
  readonly scales: Float32Array;
}

/** Rounds by `algorithm`; one that needs inputs falls back to 'mse' without `gram`. */
export function roundLayer(layer: LayerWeights, algorithm: RoundingAlgorithm, gram?: GramMatrix): RoundedLayer {
  if (!gram || algorithm === 'rtn' || algorithm === 'mse') return nearest(layer, scalesFor(layer, algorithm === 'rtn' ? 'rtn' : 'mse'));
  const scales = new Float32Array(layer.channels);
  const codes = new Int32Array(layer.rows.length);
  const perGroup = layer.channels / gram.groups;
  for (let group = 0; group < gram.groups; group += 1) {
    const rows = layer.rows.subarray(group * perGroup * layer.depth, (group + 1) * perGroup * layer.depth);
    const hessian = gram.gram.subarray(group * gram.depth ** 2, (group + 1) * gram.depth ** 2);
    const part = { ...layer, rows, channels: perGroup };
    const rounded = roundOnInputs(part, algorithm, hessian);
    scales.set(rounded.scales, group * perGroup);
    codes.set(rounded.codes, group * perGroup * layer.depth);
  }
  return { codes, scales };
}

function scalesFor({ rows, channels, depth, bits }: LayerWeights, loss: 'rtn' | 'mse' | Float64Array): Float32Array {
  return Float32Array.from({ length: channels }, (_, channel) => {
    const row = rows.subarray(channel * depth, (channel + 1) * depth);
    if (loss === 'rtn') return largestScale(row, bits);
    const measure = loss === 'mse' ? squares : (errors: Float64Array): number => quadraticForm(loss, errors, depth);
    return searchScale(row, bits, measure);
  });
}

function squares(errors: Float64Array): number {
  return errors.reduce((sum, error) => sum + error * error, 0);
}

function nearest({ rows, depth, bits }: LayerWeights, scales: Float32Array): RoundedLayer {
  const limits = codeLimits(bits);
  return { scales, codes: Int32Array.from(rows, (value, at) => codeOf(value, scales[Math.floor(at / depth)] ?? 1, limits)) };
}

/** Rounds of descent and refitting; the second still gains, later ones do not. */
const REFITS = 3;

function roundOnInputs(layer: LayerWeights, algorithm: RoundingAlgorithm, hessian: Float64Array): RoundedLayer {
  let scales = scalesFor(layer, hessian);
  if (algorithm === 'hessian') return nearest(layer, scales);
  const limits = codeLimits(layer.bits);
  const columns = {
    rows: layer.channels,
    depth: layer.depth,
    weights: layer.rows,
    hessian,
    ...limits,
    actOrder: true,
    value: (code: number, row: number): number => code * (scales[row] ?? 1),
    quantize(value: number, row: number) {
      const scale = scales[row] ?? 1;
      const code = codeOf(value, scale, limits);
      return { code, value: code * scale };
    },
  };
  let codes = gptqRound(columns);
  scales = refitted(layer, codes, { scales, hessian });
  if (algorithm === 'gptq') return { codes, scales };
  for (let round = 0; round < REFITS; round += 1) {
    codes = adaroundRound({ ...columns, start: codes });
    scales = refitted(layer, codes, { scales, hessian });
  }
  return { codes, scales };
}

/** The best scales for given codes, by least squares: s = q^T H w / q^T H q. */
function refitted(
  { rows, channels, depth }: LayerWeights,
  codes: Int32Array,
  { scales, hessian }: { scales: Float32Array; hessian: Float64Array },
): Float32Array {
  return Float32Array.from({ length: channels }, (_, channel) => {
    const [start, end] = [channel * depth, (channel + 1) * depth];
    const products = symmetricProduct(hessian, Float64Array.from(codes.subarray(start, end)));
    let [cross, square] = [0, 0];
    for (const [k, product] of products.entries()) {
      cross += product * (rows[start + k] ?? 0);
      square += product * (codes[start + k] ?? 0);
    }
    const scale = cross / square;
    return Number.isFinite(scale) && Math.fround(scale) !== 0 ? scale : (scales[channel] ?? 1);
  });
}

/** H d */
function symmetricProduct(h: Float64Array, d: Float64Array): Float64Array {
  const n = d.length;
  return d.map((_, i) => {
    let sum = 0;
    for (let j = 0; j < n; j += 1) sum += (h[i * n + j] ?? 0) * (d[j] ?? 0);
    return sum;
  });
}
