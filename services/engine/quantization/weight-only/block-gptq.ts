/** GPTQ in blocks: parameters of every block first, from the weights as they were (static groups), then rounding with error feedback. */
import { gptqRound } from '../gptq.js';
import { type BlockedWeights, blockCode, largestCode, parametersAt, type WeightRows } from './blocked-weights.js';

/**
 * Codes from gptq.ts over the blocks of `fitted`. As the blocks are fixed before any column is touched, the columns may be taken in
 * order of importance while the codes stay where MatMulNBits expects them. The codes that the rounding chose are kept; rounding the
 * corrected weights a second time would choose others (methods.md 2.8).
 */
export function gptqBlocks(rows: WeightRows, fitted: BlockedWeights, hessian: Float64Array): BlockedWeights {
  const largest = largestCode(fitted.bits);
  const codes = gptqRound({
    rows: rows.channels,
    depth: rows.depth,
    weights: rows.values,
    hessian,
    actOrder: true,
    quantize(value, row, k) {
      const parameters = parametersAt(fitted, row, k);
      const code = blockCode(value, parameters, largest);
      return { code, value: parameters.scale * (code - parameters.zeroPoint) };
    },
  });
  return { ...fitted, codes: Uint8Array.from(codes) };
}
