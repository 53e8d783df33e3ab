/** In which form each weight is to be stored, from the recipe, the readers of the weight and its shape. */
import { elementCount, type Node } from '../../ir/index.js';
import { reportName } from '../../layers/weight-store.js';
import { bytesSaved } from '../int8-weights.js';
import type { SharedWeight } from './block-layers.js';
import type { BlockBits, BlockScheme } from './blocked-weights.js';
import { packedByteLength } from './code-packing.js';
import type { WeightOnlyOptions } from './options.js';

/** 'rows': int8 with a scale for every row of a table. */
export type WeightScheme =
  | { readonly kind: 'blocks'; readonly blocks: BlockScheme }
  | { readonly kind: 'rows' }
  | { readonly kind: 'left'; readonly reason: string };

const blockSizes = [256, 128, 64, 32, 16];
/** The text of the nodes that widen the codes, at most. */
const NODE_TEXT_BYTES = 1024;
const TOO_SMALL = 'its weight is so small that fewer bits would not make the file smaller';

export function weightScheme(weight: SharedWeight, options: WeightOnlyOptions, ends: ReadonlySet<Node>): WeightScheme {
  const chosen = chosenBits(weight, options);
  if (chosen === 32) return { kind: 'left', reason: 'stays float32, as it is most sensitive for its bytes' };
  if (weight.lookups.length > 0)
    return tableScheme(weight, chosen ? { ...options, bits: chosen, embedding_bits: chosen === 2 ? 4 : chosen } : options);
  return chosen ? blocksIfSmaller(weight, schemeOf(options, chosen)) : productScheme(weight, options, ends);
}

/** What was decided for the readers of the weight one by one: the most bits of any; products have no form of 3 bits. */
function chosenBits({ products, lookups }: SharedWeight, { layer_bits }: WeightOnlyOptions): BlockBits | 32 | undefined {
  const chosen = [...products, ...lookups].flatMap(({ node }) => layer_bits?.get(reportName(node)) ?? []);
  if (chosen.length === 0) return undefined;
  const most = Math.max(...chosen);
  return most === 32 ? 32 : most > 4 ? 8 : most > 2 ? 4 : 2;
}

function productScheme(weight: SharedWeight, options: WeightOnlyOptions, ends: ReadonlySet<Node>): WeightScheme {
  const isEnd = weight.products.some(({ node }) => ends.has(node));
  return blocksIfSmaller(weight, schemeOf(options, isEnd ? 8 : (options.bits ?? 4)));
}

function schemeOf({ block_size, symmetric }: WeightOnlyOptions, bits: BlockBits): BlockScheme {
  return { bits, blockSize: block_size ?? 32, symmetric: symmetric ?? false };
}

/** Tables of 8 bits that nothing multiplies with have a scale per row: the smallest form, and in operators that every runtime has. */
function tableScheme(weight: SharedWeight, options: WeightOnlyOptions): WeightScheme {
  const { embedding_bits = 8, format = 'matmul-nbits' } = options;
  if (embedding_bits === 32) return { kind: 'left', reason: 'embedding_bits is 32 in the recipe' };
  const isTied = weight.products.length > 0;
  const isPortable = format === 'dequantize-linear';
  if (isTied && isPortable)
    return { kind: 'left', reason: 'a table that is also the weight of a product has no portable form; use the format matmul-nbits' };
  if (!isTied && (embedding_bits === 8 || isPortable)) {
    const { tensor } = weight.constant;
    return bytesSaved(tensor, tensor.dims[0] ?? 0) > 0 ? { kind: 'rows' } : { kind: 'left', reason: TOO_SMALL };
  }
  const bits = isTied ? largerOf(embedding_bits, options.bits ?? 4) : embedding_bits;
  const wanted = schemeOf(options, bits);
  const depth = weight.constant.tensor.dims[1] ?? 0;
  const blockSize = blockSizes.find((size) => size <= wanted.blockSize && depth % size === 0);
  if (!blockSize) return isTied ? { kind: 'left', reason: `its rows of ${depth} values do not divide into blocks` } : { kind: 'rows' };
  return blocksIfSmaller(weight, { ...wanted, blockSize });
}

function largerOf(a: BlockBits, b: BlockBits): BlockBits {
  return a > b ? a : b;
}

function blocksIfSmaller({ constant, axis }: SharedWeight, blocks: BlockScheme): WeightScheme {
  const { dims } = constant.tensor;
  const depth = dims[axis] ?? 0;
  const channels = dims[1 - axis] ?? 0;
  const bytes = packedByteLength({ ...blocks, depth, channels, blocks: Math.ceil(depth / blocks.blockSize) });
  return bytes + NODE_TEXT_BYTES < 4 * elementCount(dims) ? { kind: 'blocks', blocks } : { kind: 'left', reason: TOO_SMALL };
}
