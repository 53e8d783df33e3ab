/** Block reconstruction: the codes of a block are chosen so that the block makes of rounded inputs what the float network makes of its own. */
import { EngineError } from '../../engine-errors.js';
import type { Model, Node } from '../../ir/index.js';
import { firstSamples, type MethodContext, type RunSource } from '../../method.js';
import { RoundedCopy } from '../weight-storage/rounded-copy.js';
import type { SequentialLayer, SequentialResult } from '../weight-storage/sequential-layer.js';
import { type ReconstructionOptions, reconstructBlock } from './block-rounding.js';
import { openBlockSamples } from './block-samples.js';
import { type Block, reconstructionBlocks } from './blocks.js';
import type { BlockStart } from './soft-block.js';

export interface BlocksRequest {
  /** Stays as it is. */
  readonly model: Model;
  readonly layers: readonly SequentialLayer[];
  /** Codes to start from, by layer. */
  readonly start: ReadonlyMap<Node, SequentialResult>;
  readonly samples: RunSource;
  readonly context: MethodContext;
  readonly options?: ReconstructionOptions;
}

/** Samples that blocks are reconstructed on (Nagel et al. and Li et al. take 1,024). */
const SAMPLES = 1000;
const BATCH = 32;

/**
 * From the first block to the last, each with inputs from the network whose earlier blocks are reconstructed already (Li et al.,
 * BRECQ, ICLR 2021; without the weighing by gradients). A block keeps the codes it started from when it does not come nearer to
 * the float network on these samples, or when no gradient passes it. Returns what each layer has in the end.
 */
export async function reconstructBlocks(request: BlocksRequest): Promise<Map<Node, SequentialResult>> {
  const { model, layers, start, context } = request;
  const results = new Map(start);
  const rounded = new RoundedCopy(model);
  for (const layer of layers) apply(rounded, layer, start.get(layer.node));
  const blocks = reconstructionBlocks(model.graph, layers);
  for (const [at, block] of blocks.entries()) {
    const found = await reconstructOne(block, rounded.model, request);
    for (const layer of found ? block.layers : []) {
      const [before, after] = [results.get(layer.node), found?.get(layer.node)];
      if (!after) continue;
      rounded.setCodes(layer, after);
      if (after.biasShift) rounded.shiftBias(layer, difference(after.biasShift, before?.biasShift));
      results.set(layer.node, { ...(before?.biasShift ? { biasShift: before.biasShift } : {}), ...after });
    }
    const [left] = found?.values() ?? [];
    const outcome = left?.blockError === undefined ? 'keeps its codes' : `errs ${left.blockError.toFixed(2)} times what it did`;
    context.progress((at + 1) / blocks.length, `block ${at + 1} of ${blocks.length} ${outcome}`);
  }
  return results;
}

function apply(rounded: RoundedCopy, layer: SequentialLayer, result: SequentialResult | undefined): void {
  if (!result) return;
  rounded.setCodes(layer, result);
  if (result.biasShift) rounded.shiftBias(layer, result.biasShift);
}

function difference(after: Float64Array, before: Float64Array | undefined): Float64Array {
  return after.map((value, channel) => value - (before?.[channel] ?? 0));
}

async function reconstructOne(
  block: Block<SequentialLayer>,
  rounded: Model,
  { model, start, samples, context, options }: BlocksRequest,
): Promise<Map<Node, SequentialResult> | undefined> {
  const inside = new Set(block.nodes);
  /** A weight that layers elsewhere read, too, cannot be chosen for one block. */
  const isShared = block.layers.some(({ weight }) => weight.value.consumers.some((reader) => !inside.has(reader)));
  const layers = block.layers.flatMap((layer): BlockStart[] => {
    const result = start.get(layer.node);
    return result ? [{ layer, result }] : [];
  });
  if (isShared || layers.length === 0) return undefined;
  const some = firstSamples(samples, SAMPLES);
  const batch = samples.fixedBatch ?? Math.min(BATCH, some.sampleCount);
  const data = await openBlockSamples({ block, original: model, rounded, samples: some, batch, context });
  try {
    return await reconstructBlock({ model, block, layers, data, batch, context, ...(options ? { options } : {}) });
  } catch (error) {
    if (error instanceof EngineError && error.code === 'model_unsupported') return undefined;
    throw error;
  } finally {
    await data.close();
  }
}
