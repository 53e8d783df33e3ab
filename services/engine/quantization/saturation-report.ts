/** Says of a quantized model which of its integer products can saturate, and on which targets it therefore gives its exact answer. */
import type { Model } from '../ir/index.js';
import { reportName } from '../layers/weight-store.js';
import type { Target } from '../method.js';
import { type IntegerProduct, integerProducts } from './integer-products.js';
import { largestPairSum } from './saturation.js';

/** Largest sum of two products that the pair kernel holds: above it int16 saturates. */
const INT16_MAX = 32_767;

/** True when a product with this bound can leave int16. */
export function saturates(bound: number): boolean {
  return bound > INT16_MAX;
}

/** |w| of an int8 operand that is computed in every run is at most 128: two products with activation codes up to 255. */
const COMPUTED_PAIR_SUM = 256;

export interface ProductSaturation {
  /** Name of the node, or of its first output. */
  readonly node: string;
  readonly op_type: string;
  /**
   * max over channels and same-sign pairs of largest activation code * (|w0| + |w1|): the largest sum that VPMADDUBSW can meet.
   * 0 where the kernel widens before it adds (uint8 weights, depthwise, two signed operands).
   */
  readonly pair_bound: number;
  readonly saturates: boolean;
}

export interface SaturationReport {
  /** Every 8-bit product, in the order of the graph. */
  readonly products: readonly ProductSaturation[];
  /** Targets on which every product is exact whatever the input is. */
  readonly exact_on: readonly Target[];
}

export function saturationReport(model: Model): SaturationReport {
  const products = integerProducts(model).map((product) => {
    const bound = pairBound(product);
    return { node: reportName(product.node), op_type: product.node.opType, pair_bound: bound, saturates: saturates(bound) };
  });
  const isExact = products.every((product) => !product.saturates);
  return { products, exact_on: isExact ? ['x64', 'x64-vnni', 'arm64'] : ['x64-vnni', 'arm64'] };
}

/** One sentence for the report: where the model is exact, and which layers keep it from being so everywhere. */
export function describeSaturation({ products }: SaturationReport): string {
  const saturating = products.filter((product) => product.saturates);
  if (products.length === 0) return 'No integer products: nothing can saturate.';
  if (saturating.length === 0) return 'No pair of products can saturate: the answer is the same on x64 with and without VNNI and on arm64.';
  const names = saturating.map(({ node }) => `"${node}"`);
  return `Saturates on x64 without VNNI in ${names.slice(0, 10).join(', ')}${names.length > 10 ? ` and ${names.length - 10} more` : ''}: the answer depends on the processor there.`;
}

/** Largest sum of two products that the pair kernel can meet; 0 where the kernel widens before it adds. */
export function pairBound({ weights, widens, largestCode }: IntegerProduct): number {
  if (widens !== null) return 0;
  if (weights === null) return largestCode * COMPUTED_PAIR_SUM;
  let largest = 0;
  for (const { codes, channels, length } of weights) {
    for (let channel = 0; channel < channels; channel += 1) {
      largest = Math.max(largest, largestPairSum(codes.subarray(channel * length, (channel + 1) * length)));
    }
  }
  return largestCode * largest;
}
