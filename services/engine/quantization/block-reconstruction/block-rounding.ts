/** Trains the rounding of one block on stored inputs and targets, and says what it came to. */
import type { Model, Node } from '../../ir/index.js';
import { toRows } from '../../layers/channel-layout.js';
import type { MethodContext } from '../../method.js';
import { batchesPerEpoch, epochBatches } from '../../training/sample-order.js';
import { trainableModel } from '../../training/trainable-model.js';
import type { TrainingData } from '../../training/training-data.js';
import { trainingGraph } from '../../training/training-graph.js';
import { type StepRequest, TrainingSession } from '../../training/training-session.js';
import type { SequentialLayer, SequentialResult } from '../weight-storage/sequential-layer.js';
import { blockError } from './block-error.js';
import type { BlockShape } from './block-model.js';
import { targetName } from './block-samples.js';
import type { Block } from './blocks.js';
import { type BlockStart, pressure, reconstructionLoss, type SoftLayer, softBlock } from './soft-block.js';
import { hardCodes, LOG_SCALE_UNIT, softRounding } from './soft-rounding.js';

export interface ReconstructionOptions {
  readonly steps?: number;
  readonly learningRate?: number;
  /** Weight of the indecision of the variables beside the error, which is 1 at the start. */
  readonly decisiveness?: number;
}

export interface BlockRequest {
  readonly model: Model;
  readonly block: Block<SequentialLayer>;
  readonly layers: readonly BlockStart[];
  readonly data: TrainingData;
  readonly batch: number;
  readonly context: MethodContext;
  readonly options?: ReconstructionOptions;
}

/** Chosen on resnet8 in 2 bits; below a weight of some hundreds, variables end undecided and rounding them undoes the gain. */
const STEPS = 500;
const LEARNING_RATE = 0.03;
const DECISIVENESS = 1000;

/** The layers as they are nearer to the targets than before; undefined when they are not. Throws EngineError `model_unsupported`. */
export async function reconstructBlock(request: BlockRequest): Promise<Map<Node, SequentialResult> | undefined> {
  const { data, batch, layers } = request;
  const { feeds } = await data.rows(Array.from({ length: batch }, (_, at) => at % data.sampleCount));
  const inputs = new Map([...feeds].filter(([name]) => !name.startsWith(targetName(''))));
  const outputs = request.block.outputs.map(({ name }) => name).filter((name) => feeds.get(targetName(name))?.dataType === 'float32');
  if (outputs.length === 0) return undefined;
  const shape = { inputs, outputs };
  const start = new Map(layers.map(({ layer, result }) => [layer.node, result] as const));
  const errorOf = (results: ReadonlyMap<Node, SequentialResult>): Promise<readonly number[]> => blockError({ ...request, shape, results });
  const before = await errorOf(start);
  const trained = await trainRounding(request, shape, before);
  if (!trained) return undefined;
  const after = await errorOf(trained);
  const gain = relative(after, before);
  return gain < 1 ? new Map([...trained].map(([node, result]) => [node, { ...result, blockError: gain }])) : undefined;
}

/** Mean over the outputs of error over error before. */
function relative(after: readonly number[], before: readonly number[]): number {
  return after.reduce((sum, error, at) => sum + (before[at] ? error / (before[at] ?? 1) : 1 + error), 0) / after.length;
}

async function trainRounding(
  request: BlockRequest,
  shape: BlockShape,
  before: readonly number[],
): Promise<Map<Node, SequentialResult> | undefined> {
  const { data, batch, context, options = {} } = request;
  const { steps = STEPS, learningRate = LEARNING_RATE, decisiveness = DECISIVENESS } = options;
  const { model, written } = softBlock({ ...request, shape });
  if (written.length === 0) return undefined;
  const names = new Set(written.flatMap(({ variables, logScales, bias }) => [variables, logScales, ...(bias === undefined ? [] : [bias])]));
  const sample = new Map([...shape.inputs, ...pressure(0, 1, 0)]);
  const trainable = await trainableModel({ model, feeds: sample, context, batchStatistics: false, alsoTrained: names });
  const graph = await trainingGraph({
    ...{ trainable, feeds: sample, objective: reconstructionLoss(shape, before), runtime: context.runtime },
    isTrained: ({ name }) => names.has(name),
    updates: { optimizer: { name: 'adam' } },
  });
  const session = await TrainingSession.open(context.runtime, graph);
  try {
    const batches = batchesOf(data.sampleCount, batch);
    for (let done = 0; done < steps; ) {
      context.signal.throwIfAborted();
      const taken: StepRequest[] = [];
      for (const to = Math.min(steps, done + session.stepsPerRun); done + taken.length < to; ) {
        const step = done + taken.length;
        const { feeds } = await data.rows(batches(step));
        taken.push({ feeds: new Map([...feeds, ...pressure(step, steps, decisiveness)]), learningRate });
      }
      await session.run(done + 1, taken);
      done += taken.length;
    }
    const found = session.parameters();
    return new Map(written.map((each) => [each.start.layer.node, resultOf(each, found)] as const));
  } finally {
    await session.close();
  }
}

/** The samples of a step, counted from 0. */
function batchesOf(sampleCount: number, batchSize: number): (step: number) => Uint32Array {
  const order = { seed: 0, sampleCount, batchSize };
  const perEpoch = batchesPerEpoch(order);
  let epoch = { at: 0, batches: epochBatches(order, 0) };
  return (step) => {
    const at = Math.floor(step / perEpoch);
    if (at !== epoch.at) epoch = { at, batches: epochBatches(order, at) };
    return epoch.batches[step % perEpoch] ?? new Uint32Array();
  };
}

function resultOf({ start, rounding, variables, logScales, bias }: SoftLayer, found: ReadonlyMap<string, Float32Array>): SequentialResult {
  const { result } = start;
  const { base } = softRounding(rounding);
  const { layout } = rounding;
  const moved = toRows(found.get(variables) ?? new Float32Array(), layout);
  const growth = found.get(logScales) ?? new Float32Array();
  const scales = result.scales.map((scale, channel) => scale * Math.exp(LOG_SCALE_UNIT * (growth[channel] ?? 0)));
  const shift = bias === undefined ? undefined : found.get(bias);
  const before = result.biasShift ?? new Float64Array(scales.length);
  return {
    codes: hardCodes({ base, variables: moved }),
    scales,
    ...(shift ? { biasShift: before.map((value, channel) => value + (result.scales[channel] ?? 0) * (shift[channel] ?? 0)) } : {}),
  };
}
