/** From the codes of GPTQ to better ones: the scales of the blocks and single codes, in turns, each to where the outputs err least. */
import { type BlockedWeights, blockScale, largestCode, parametersAt, type WeightRows } from './blocked-weights.js';

/** Turns of scales and codes: after the third hardly a code moves. */
const ROUNDS = 3;
/** Passes over the codes of a row in one turn. */
const SWEEPS = 2;
/** Share of the mean of the diagonal that is added to it, as in GPTQ. */
const DAMPING = 0.01;

/**
 * With e = w - w' for a row of weights and H = E[x x^T] + d I of its inputs, the outputs err by E = e^T H e. With g = H e and
 * q = code - zero point,
 *   block b:  scale_b += sum_k q_k g_k / (q^T H q), both over k in b (least squares);
 *   code k:   code_k += round(g_k / (H_kk scale_b)), within its range;
 * each is the least E when all else stays (Behdin et al. 2023, QuantEase, arXiv 2309.01885, section 3, for the codes), so that E never
 * rises. Zero points stay. Returns `from` when H says nothing (a value that is not finite).
 */
export function descendBlocks(rows: WeightRows, from: BlockedWeights, moments: Float64Array): BlockedWeights {
  const hessian = damped(moments, rows.depth);
  if (!hessian) return from;
  const descended = { ...from, codes: Uint8Array.from(from.codes), scales: Float32Array.from(from.scales) };
  const descent = new RowDescent(rows, descended, hessian);
  for (let row = 0; row < rows.channels; row += 1) descent.run(row);
  return descended;
}

function damped(moments: Float64Array, depth: number): Float64Array | null {
  let trace = 0;
  for (let k = 0; k < depth; k += 1) trace += moments[k * depth + k] ?? 0;
  if (!(trace > 0 && Number.isFinite(trace))) return null;
  const hessian = Float64Array.from(moments);
  for (let k = 0; k < depth; k += 1) hessian[k * depth + k] = (hessian[k * depth + k] ?? 0) + (DAMPING * trace) / depth;
  return hessian;
}

/** Writes into the codes and scales of `weights`. */
class RowDescent {
  private readonly depth: number;
  private readonly largest: number;
  /** g = H e of the row at hand. */
  private readonly gradient: Float64Array;

  constructor(
    private readonly rows: WeightRows,
    private readonly weights: BlockedWeights,
    private readonly hessian: Float64Array,
  ) {
    this.depth = rows.depth;
    this.largest = largestCode(weights.bits);
    this.gradient = new Float64Array(rows.depth);
  }

  run(row: number): void {
    this.startGradient(row);
    for (let round = 0; round < ROUNDS; round += 1) {
      for (let block = 0; block < this.weights.blocks; block += 1) this.fitScale(row, block);
      let moved = 0;
      for (let sweep = 0; sweep < SWEEPS; sweep += 1) for (let k = 0; k < this.depth; k += 1) moved += this.moveCode(row, k);
      if (moved === 0) return;
    }
  }

  private startGradient(row: number): void {
    this.gradient.fill(0);
    for (let k = 0; k < this.depth; k += 1) {
      const { scale } = parametersAt(this.weights, row, k);
      this.moveWeight(k, scale * this.level(row, k) - (this.rows.values[row * this.depth + k] ?? 0));
    }
  }

  private fitScale(row: number, block: number): void {
    const { depth, hessian } = this;
    const { blockSize, blocks, scales } = this.weights;
    const start = block * blockSize;
    const end = Math.min(start + blockSize, depth);
    let [slope, curvature] = [0, 0];
    for (let k = start; k < end; k += 1) {
      const level = this.level(row, k);
      let product = 0;
      for (let j = start; j < end; j += 1) product += (hessian[k * depth + j] ?? 0) * this.level(row, j);
      slope += level * (this.gradient[k] ?? 0);
      curvature += level * product;
    }
    const at = row * blocks + block;
    const before = scales[at] ?? 1;
    const after = Math.fround(before + (curvature > 0 ? slope / curvature : 0));
    // A scale that vanishes, or is no number, would say nothing of its codes.
    if (after === before || blockScale(after) !== after) return;
    scales[at] = after;
    for (let k = start; k < end; k += 1) this.moveWeight(k, (after - before) * this.level(row, k));
  }

  /** 1 when the code has moved, otherwise 0. */
  private moveCode(row: number, k: number): number {
    const { scale } = parametersAt(this.weights, row, k);
    const curvature = this.hessian[k * this.depth + k] ?? 0;
    const at = row * this.depth + k;
    const before = this.weights.codes[at] ?? 0;
    const wanted = before + Math.round((this.gradient[k] ?? 0) / (curvature * scale));
    const after = Math.max(0, Math.min(this.largest, wanted));
    if (after === before) return 0;
    this.weights.codes[at] = after;
    this.moveWeight(k, scale * (after - before));
    return 1;
  }

  /** The quantized weight k grows by `by`: e_k falls, and g with it. */
  private moveWeight(k: number, by: number): void {
    if (by === 0) return;
    const { depth, gradient, hessian } = this;
    for (let j = 0, line = k * depth; j < depth; j += 1) gradient[j] = (gradient[j] ?? 0) - by * (hessian[line + j] ?? 0);
  }

  private level(row: number, k: number): number {
    return (this.weights.codes[row * this.depth + k] ?? 0) - parametersAt(this.weights, row, k).zeroPoint;
  }
}
