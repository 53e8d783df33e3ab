/** A block that is trained: each weight between two codes, scales and biases that move, and a loss that tells it from its targets. */
import { attributeOf, float32Tensor, GraphWriter, type Model, NameAuthority, type Node, type Tensor, Value } from '../../ir/index.js';
import { shiftBias } from '../../layers/bias-shift.js';
import { channelCount } from '../../layers/channel-layout.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { Objective } from '../../training/training-graph.js';
import { codeLimits } from '../weight-storage/scale-search.js';
import type { SequentialLayer, SequentialResult } from '../weight-storage/sequential-layer.js';
import { type BlockShape, blockModel, firstOutput } from './block-model.js';
import { targetName } from './block-samples.js';
import type { Block } from './blocks.js';
import { type RoundingStart, writeRounding } from './soft-rounding.js';

export interface BlockStart {
  readonly layer: SequentialLayer;
  readonly result: SequentialResult;
}

export interface SoftBlockRequest {
  readonly model: Model;
  readonly block: Block<SequentialLayer>;
  readonly layers: readonly BlockStart[];
  readonly shape: BlockShape;
}

/** Share of the steps in which variables may stay undecided. */
const WARM_UP = 0.2;
const [BETA_START, BETA_END] = [20, 2];
const INPUTS = { beta: 'reconstruction/beta', weight: 'reconstruction/weight' } as const;

/** Names of the constants that are trained for a layer. */
export interface SoftLayer {
  readonly start: BlockStart;
  readonly rounding: RoundingStart;
  readonly variables: string;
  readonly logScales: string;
  /** In scales of the channel; absent where no bias can be shifted. */
  readonly bias?: string;
}

/** Beta falls along half a cosine from 20 to 2 behind the warm-up, in which nothing presses (AdaRound, methods.md 3.3). */
export function pressure(step: number, steps: number, decisiveness: number): [string, Tensor][] {
  const done = (step / steps - WARM_UP) / (1 - WARM_UP);
  const beta = BETA_END + ((BETA_START - BETA_END) * (1 + Math.cos(Math.PI * Math.max(0, done)))) / 2;
  return [
    [INPUTS.beta, float32Tensor([], [beta])],
    [INPUTS.weight, float32Tensor([], [done < 0 ? 0 : decisiveness])],
  ];
}

/** The block with weights between two codes each; a last output is the mean indecision of all, times the weight that is fed. */
export function softBlock({ model, block, layers, shape }: SoftBlockRequest): { model: Model; written: SoftLayer[] } {
  const part = blockModel(model, block, shape);
  const { graph } = part;
  const store = new WeightStore(part);
  const nodes = new Map(graph.nodes.map((node) => [firstOutput(node), node] as const));
  const names = new NameAuthority(part);
  const write = new GraphWriter(part, names, graph, 'reconstruction');
  const present = new Set(graph.nodes);
  const [beta, weight] = [INPUTS.beta, INPUTS.weight].map((name) => {
    const value = new Value(names.valueName(name), { kind: 'tensor', dataType: 'float32', shape: [] });
    graph.inputs.push(value);
    return value;
  }) as [Value, Value];
  const indecisions: Value[] = [];
  const written = layers.flatMap(({ layer, result }): SoftLayer[] => {
    const node = nodes.get(firstOutput(layer.node));
    const constant = node && store.constant(node.inputs[1]);
    if (!node || !constant) return [];
    const rounding = { constant, layout: layer.layout, limits: codeLimits(layer.bits), codes: result.codes, scales: result.scales };
    const made = writeRounding(write, rounding, beta);
    if (!made) return [];
    const shift = result.biasShift ?? new Float64Array(channelCount(layer.layout));
    const bias = shiftBias(store, node, shift) ? movingBias(write, node, result.scales) : undefined;
    for (const use of constant.value.uses) use.node.setInput(use.index, made.weight);
    indecisions.push(made.indecision);
    const names = { variables: made.variables.name, logScales: made.logScales.name };
    return [{ start: { layer, result }, rounding, ...names, ...(bias ? { bias: bias.name } : {}) }];
  });
  if (indecisions.length > 0) graph.outputs.push(write.node('Mul', [write.node('Mean', indecisions), weight]));
  const made = graph.nodes.filter((node) => !present.has(node));
  graph.reorder([...made, ...graph.nodes.filter((node) => present.has(node))]);
  return { model: part, written };
}

/** b + s d: the variable d, in scales of the channel. Convolutions only: elsewhere a bias may be scaled, or stand in another node. */
function movingBias(write: GraphWriter, node: Node, scales: Float32Array): Value | undefined {
  const bias = node.inputs[2];
  if (!bias || (node.opType !== 'Conv' && node.opType !== 'ConvTranspose')) return undefined;
  const moved = write.constant(float32Tensor([scales.length], new Float32Array(scales.length)));
  node.setInput(2, write.node('Add', [bias, write.node('Mul', [moved, write.constant(float32Tensor([scales.length], scales))])]));
  return moved;
}

/** Mean over the outputs of ||z - z~||^2 over what it was at the start, and the indecision. */
export function reconstructionLoss({ outputs }: BlockShape, before: readonly number[]): Objective {
  return (scope) => {
    const { write } = scope;
    const errors = outputs.map((name, at) => {
      const { value, dims } = scope.output(at);
      const difference = write.node('Sub', [value, scope.input(targetName(name), dims)]);
      const error = write.node('ReduceSum', [write.node('Mul', [difference, difference])], { keepdims: attributeOf.int(0) });
      return write.node('Mul', [error, write.float(1 / (dims[0] ?? 1) / ((before[at] ?? 0) || 1) / outputs.length)]);
    });
    return write.node('Sum', [...errors, scope.output(outputs.length).value]);
  };
}
