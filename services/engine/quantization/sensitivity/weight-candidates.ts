/** The layers whose weights mixed precision decides about, with what each number of bits costs in the file and does to the weight. */

import type { WeightQuantization } from '../../evaluation/switchable-model.js';
import { elementCount, float32Values, type Model } from '../../ir/index.js';
import { channelCount, channelDepth, fromRows, toRows } from '../../layers/channel-layout.js';
import { reportName, WeightStore } from '../../layers/weight-store.js';
import { findBlockLayers, type SharedWeight } from '../weight-only/block-layers.js';
import { quantizeMatrix } from '../weight-only/block-quantization.js';
import { type BlockScheme, widened } from '../weight-only/blocked-weights.js';
import { packedByteLength } from '../weight-only/code-packing.js';
import { rowsOf, tensorOfRows } from '../weight-only/weight-matrices.js';
import { weightScheme } from '../weight-only/weight-schemes.js';
import { quantizeWeights } from '../weight-quantization.js';
import { roundLayer } from '../weight-storage/layer-rounding.js';
import { type PlannedWeight, planStorage, storedBytes } from '../weight-storage/planned-weights.js';

export type WeightBits = 2 | 3 | 4 | 8 | 32;

export interface WeightCandidate {
  readonly bits: WeightBits;
  /** Of the weights in the file, scales and the text of the nodes that widen them included. */
  readonly bytes: number;
  /** Empty for 32 bits. */
  readonly weights: readonly WeightQuantization[];
}

/** Nodes that share weights are one layer. */
export interface CandidateLayer {
  /** Report names. */
  readonly nodes: readonly string[];
  readonly opType: string;
  /** Name of the output of the first product or node, with its bias. */
  readonly output: string;
  /** In float32. */
  readonly bytes: number;
  /** At least one: float32 where it is wanted, or where the layer has no form of the wanted bits. */
  readonly candidates: readonly WeightCandidate[];
}

/** Names and nodes that one stored weight of few bits, or a table, brings into the file, roughly. */
const TEXT_BYTES = 250;
/** The same for a product: nodes that widen the codes when the model is loaded, and for 2 bits what unpacks them; MatMulNBits for 4. */
const BLOCK_TEXT_BYTES = { 2: 5100, 4: 200, 8: 550 } as const;

export function candidateLayers(
  model: Model,
  { bits, exclude }: { readonly bits: readonly WeightBits[]; readonly exclude: readonly string[] },
): readonly CandidateLayer[] {
  const store = new WeightStore(model);
  const layers = [...blockLayers(model, store, { bits, exclude }), ...storedLayers(model, store, { bits, exclude })];
  return layers.map((layer) => {
    const float = { bits: 32 as const, bytes: layer.bytes, weights: [] };
    return bits.includes(32) || layer.candidates.length === 0 ? { ...layer, candidates: [...layer.candidates, float] } : layer;
  });
}

interface Wanted {
  readonly bits: readonly WeightBits[];
  readonly exclude: readonly string[];
}

function blockLayers(model: Model, store: WeightStore, { bits, exclude }: Wanted): CandidateLayer[] {
  return findBlockLayers(model, store, { exclude }).weights.flatMap((weight): CandidateLayer[] => {
    const readers = [...weight.lookups, ...weight.products].map(({ node }) => node);
    const [first] = readers;
    if (!first) return [];
    const nodes = readers.map(reportName);
    const candidates = bits.flatMap((each) => blockCandidate(weight, nodes, each) ?? []);
    const output =
      (weight.products.length > 0 ? (weight.products[0]?.bias?.add ?? weight.products[0]?.node) : first)?.outputs[0]?.name ?? '';
    return [{ nodes, opType: first.opType, output, bytes: floatBytes([weight.constant]), candidates }];
  });
}

/** null where the weight has no form of these bits, or one that would not be smaller. */
function blockCandidate(weight: SharedWeight, nodes: readonly string[], bits: WeightBits): WeightCandidate | null {
  if (bits === 32 || bits === 3 || (bits === 2 && weight.lookups.length > 0)) return null;
  const scheme = weightScheme(weight, { layer_bits: new Map(nodes.map((name) => [name, bits])) }, new Set());
  const { tensor, value } = weight.constant;
  if (scheme.kind === 'left') return null;
  const { dims } = tensor;
  const [rows = 0, columns = 0] = dims;
  if (scheme.kind === 'rows') {
    // Tables fall back to 8 bits per row; that candidate exists already.
    if (bits !== 8) return null;
    return { bits, bytes: rows * columns + 4 * rows + TEXT_BYTES, weights: [{ value: value.name, quantized: () => roundedRows(weight) }] };
  }
  const { blocks } = scheme;
  const depth = dims[weight.axis] ?? 0;
  const shape = { ...blocks, depth, channels: dims[1 - weight.axis] ?? 0, blocks: Math.ceil(depth / blocks.blockSize) };
  return {
    bits,
    bytes: packedByteLength(shape) + BLOCK_TEXT_BYTES[blocks.bits],
    weights: [{ value: value.name, quantized: () => roundedBlocks(weight, blocks) }],
  };
}

/** Within half a decibel of k-quant, which the artifact is written with, at a thirtieth of its time (2 bits: a quarter). */
const SWEEP_ALGORITHMS = { 2: 'mse', 4: 'rtn', 8: 'rtn' } as const;

function roundedBlocks({ constant, axis }: SharedWeight, scheme: BlockScheme): Float32Array {
  const rows = rowsOf(constant.tensor, axis);
  return float32Values(tensorOfRows({ ...rows, values: widened(quantizeMatrix(SWEEP_ALGORITHMS[scheme.bits], { rows, scheme })) }, axis));
}

function roundedRows({ constant }: SharedWeight): Float32Array {
  const [rows = 0, columns = 0] = constant.tensor.dims;
  const matrix = { values: float32Values(constant.tensor), rows, columns, reductionAxis: 1 as const };
  const { codes, scales } = quantizeWeights(matrix, { perChannel: true, pairSafe: false });
  return Float32Array.from(codes, (code, at) => code * (scales[Math.floor(at / columns)] ?? 1));
}

function storedLayers(model: Model, store: WeightStore, { bits, exclude }: Wanted): CandidateLayer[] {
  const layers = new Map<string, { readonly weights: readonly PlannedWeight[]; readonly candidates: WeightCandidate[] }>();
  for (const each of bits) {
    if (each === 32) continue;
    const options = {
      exclude,
      protectEnds: false,
      convBits: each,
      ...(each === 4 || each === 8 ? { recurrentBits: each } : { recurrentBits: 32 as const }),
    };
    for (const weights of byNodes(planStorage(model, store, options).weights)) {
      const key = namesOf(weights).join('\n');
      const layer = layers.get(key) ?? { weights, candidates: [] };
      layer.candidates.push({
        bits: each,
        bytes: weights.reduce((sum, weight) => sum + storedBytes(weight) + TEXT_BYTES, 0),
        weights: weights.map((weight) => ({ value: weight.constant.value.name, quantized: () => roundedStored(weight) })),
      });
      layers.set(key, layer);
    }
  }
  return [...layers.values()].map(({ weights, candidates }) => {
    const [first] = weights[0]?.nodes ?? [];
    const bytes = floatBytes(weights.map(({ constant }) => constant));
    return { nodes: namesOf(weights), opType: first?.opType ?? '', output: first?.outputs[0]?.name ?? '', bytes, candidates };
  });
}

function namesOf(weights: readonly PlannedWeight[]): readonly string[] {
  return [...new Set(weights.flatMap(({ nodes }) => nodes.map(reportName)))];
}

/** Weights with a reader in common (W and R of a recurrent layer) in one group. */
function byNodes(weights: readonly PlannedWeight[]): PlannedWeight[][] {
  const groups: PlannedWeight[][] = [];
  for (const weight of weights) {
    const meets = (group: readonly PlannedWeight[]): boolean =>
      group.some(({ nodes }) => nodes.some((node) => weight.nodes.includes(node)));
    const met = groups.filter(meets);
    for (const group of met) groups.splice(groups.indexOf(group), 1);
    groups.push([...met.flat(), weight]);
  }
  return groups;
}

function roundedStored({ constant, layout, bits }: PlannedWeight): Float32Array {
  const depth = channelDepth(layout);
  const rows = toRows(float32Values(constant.tensor), layout);
  const { codes, scales } = roundLayer({ rows, channels: channelCount(layout), depth, bits }, bits === 8 ? 'rtn' : 'mse');
  const values = Float64Array.from(codes, (code, at) => code * (scales[Math.floor(at / depth)] ?? 1));
  return fromRows(values, layout, Float32Array);
}

function floatBytes(constants: readonly { readonly tensor: { readonly dims: readonly number[] } }[]): number {
  return constants.reduce((sum, { tensor }) => sum + 4 * elementCount(tensor.dims), 0);
}
