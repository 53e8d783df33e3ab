/** Operators that positive factors of channels pass through unchanged. */
import type { Node } from '../ir/index.js';

/**
 * Operators with f(s x) = s f(x) for s > 0. A bound (Clip, HardSwish) or a curve (SiLU, GELU) is none of them. The data of PRelu
 * is its first input; its slopes do not change.
 */
const homogeneous: ReadonlySet<string> = new Set(['Identity', 'Relu', 'LeakyRelu', 'PRelu']);
/** Homogeneous, too, and apart for each channel of an image. */
const poolings: ReadonlySet<string> = new Set(['MaxPool', 'AveragePool', 'GlobalAveragePool', 'GlobalMaxPool']);

export function isHomogeneous({ domain, opType, outputs }: Node, channelAxis: 'second' | 'last'): boolean {
  if (domain !== '' || outputs.length !== 1) return false;
  return homogeneous.has(opType) || (channelAxis === 'second' && poolings.has(opType));
}
