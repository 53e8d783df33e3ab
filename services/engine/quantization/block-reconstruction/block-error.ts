/** How far what a block makes with given codes is from its targets. */
import {
  attributeOf,
  float32Tensor,
  float32Values,
  GraphWriter,
  type Model,
  NameAuthority,
  type Node,
  type Tensor,
  Value,
} from '../../ir/index.js';
import { shiftBias } from '../../layers/bias-shift.js';
import { channelDepth, fromRows } from '../../layers/channel-layout.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { MethodContext } from '../../method.js';
import type { TrainingData } from '../../training/training-data.js';
import type { SequentialLayer, SequentialResult } from '../weight-storage/sequential-layer.js';
import { type BlockShape, blockModel, firstOutput } from './block-model.js';
import { targetName } from './block-samples.js';
import type { Block } from './blocks.js';

export interface BlockErrorRequest {
  readonly model: Model;
  readonly block: Block<SequentialLayer>;
  readonly shape: BlockShape;
  readonly results: ReadonlyMap<Node, SequentialResult>;
  readonly data: TrainingData;
  readonly batch: number;
  readonly context: MethodContext;
}

/** Mean over the samples of ||z - z~||^2, by output. */
export async function blockError(request: BlockErrorRequest): Promise<number[]> {
  const { data, batch, context, shape } = request;
  const { model, errors } = errorModel(request);
  const session = await context.runtime.open(model);
  try {
    const sums = shape.outputs.map(() => 0);
    let count = 0;
    for (let from = 0; from + batch <= data.sampleCount || from === 0; from += batch, count += batch) {
      context.signal.throwIfAborted();
      const { feeds } = await data.rows(Array.from({ length: batch }, (_, at) => (from + at) % data.sampleCount));
      const wanted = new Map(session.inputs.map(({ name }) => [name, feeds.get(name) as Tensor] as const));
      const found = await session.run(wanted);
      for (const [at, name] of errors.entries()) sums[at] = (sums[at] ?? 0) + (float32Values(found.get(name) as Tensor)[0] ?? 0);
    }
    return sums.map((sum) => sum / count);
  } finally {
    await session.close();
  }
}

/** The block with its codes as float weights; its outputs are the squared errors, in the order of those of the shape. */
function errorModel({ model, block, shape, results }: BlockErrorRequest): { model: Model; errors: string[] } {
  const part = blockModel(model, block, shape);
  const { graph } = part;
  const store = new WeightStore(part);
  const nodes = new Map(graph.nodes.map((node) => [firstOutput(node), node] as const));
  for (const { node, layout } of block.layers) {
    const result = results.get(node);
    const twin = nodes.get(firstOutput(node));
    const constant = twin && store.constant(twin.inputs[1]);
    if (!result || !twin || !constant) continue;
    const depth = channelDepth(layout);
    const values = Float64Array.from(result.codes, (code, at) => code * (result.scales[Math.floor(at / depth)] ?? 1));
    store.replace(constant, float32Tensor(constant.tensor.dims, fromRows(values, layout, Float32Array)));
    if (result.biasShift) shiftBias(store, twin, result.biasShift);
  }
  const write = new GraphWriter(part, new NameAuthority(part), graph, 'error');
  const outputs = [...graph.outputs];
  graph.outputs.splice(0);
  for (const output of outputs) {
    const target = new Value(targetName(output.name), { kind: 'tensor', dataType: 'float32', shape: null });
    graph.inputs.push(target);
    const difference = write.node('Sub', [output, target]);
    const error = write.node('ReduceSum', [write.node('Mul', [difference, difference])], { keepdims: attributeOf.int(0) });
    error.type = { kind: 'tensor', dataType: 'float32', shape: [] };
    graph.outputs.push(error);
  }
  return { model: part, errors: graph.outputs.map(({ name }) => name) };
}
