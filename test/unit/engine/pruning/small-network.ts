/** A network with a residual sum, a depthwise convolution, a flattened map and a hidden layer, at any widths, and its groups. */
import { attributeOf, float32Tensor, type Model, type Value } from '../../../../services/engine/ir/index.js';
import type { RunSource } from '../../../../services/engine/method.js';
import type { RemovalOrder } from '../../../../services/engine/pruning/importance/removal-order.js';
import { analyzeStructure } from '../../../../services/engine/pruning/structure/analyze-structure.js';
import type { PruningGroup } from '../../../../services/engine/pruning/structure/pruning-structure.js';
import type { AnalyzedStructure } from '../../../../services/engine/pruning/structure/structure-layout.js';
import { observeShapes } from '../../../../services/engine/runtime/observe-shapes.js';
import { ModelBuilder, noise, runtime } from '../quantization/method-fixtures.js';

/** Channels of the stream of residuals, of the layer inside, and of the dense layer behind the map. */
export interface NetworkWidths {
  readonly stream: number;
  readonly inner: number;
  readonly hidden: number;
}

export const fullWidths: NetworkWidths = { stream: 32, inner: 48, hidden: 64 };
export const mapSize = 3;

/** stem 3x3 -> [3x3 -> depthwise 3x3 -> 1x1 + stem] -> Relu -> Flatten -> hidden -> 10. */
export function smallNetwork({ stream, inner, hidden }: NetworkWidths): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', [1, 3, mapSize, mapSize]);
  const weight = (name: string, dims: readonly number[]): Value =>
    builder.constant(
      name,
      noise(
        dims,
        [...name].reduce((sum, letter) => 31 * sum + letter.charCodeAt(0), 7),
        0.3,
      ),
    );
  const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
  const conv = (from: Value, name: string, dims: readonly [number, number, number, number], attributes = {}): Value =>
    builder.node('Conv', [from, weight(`${name}_w`, dims), weight(`${name}_b`, [dims[0]])], attributes);
  const stem = builder.node('Relu', [conv(x, 'stem', [stream, 3, 3, 3], pads)]);
  const wide = builder.node('Relu', [conv(stem, 'wide', [inner, stream, 3, 3], pads)]);
  const deep = builder.node('Relu', [conv(wide, 'deep', [inner, 1, 3, 3], { ...pads, group: attributeOf.int(inner) })]);
  const sum = builder.node('Relu', [builder.node('Add', [conv(deep, 'narrow', [stream, inner, 1, 1]), stem])]);
  const flat = builder.node('Flatten', [sum]);
  const dense = builder.node('MatMul', [flat, weight('dense_w', [stream * mapSize ** 2, hidden])]);
  const relu = builder.node('Relu', [builder.node('Add', [dense, weight('dense_b', [hidden])])]);
  const scores = builder.node('Gemm', [
    relu,
    weight('head_w', [hidden, 10]),
    builder.constant('head_b', float32Tensor([10], new Float32Array(10))),
  ]);
  return builder.output(scores, [1, 10]).model;
}

export interface AnalyzedNetwork {
  readonly model: Model;
  readonly structure: AnalyzedStructure;
  /** Stream, inner, hidden. */
  readonly groups: readonly PruningGroup[];
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

export const sampleFeeds = new Map([['x', noise([1, 3, mapSize, mapSize], 1)]]);

/** The widths of the groups must differ from each other. */
export async function analyzed(widths: NetworkWidths): Promise<AnalyzedNetwork> {
  const model = smallNetwork(widths);
  const { shapes } = await observeShapes(runtime, { model, feeds: sampleFeeds });
  const structure = analyzeStructure(model, shapes);
  const groups = [widths.stream, widths.inner, widths.hidden].map((width) =>
    structure.groups.filter(({ units }) => units.length === width),
  );
  if (groups.some((found) => found.length !== 1)) throw new Error('the network does not have the three groups');
  return { model, structure, groups: groups.flat(), shapes };
}

/** An order that loses its units from the first on, each for `costEach`. */
export function orderFromFirst(group: PruningGroup, costEach = 1): RemovalOrder {
  const steps = group.units.slice(1).map((_, at) => [at]);
  return { group, steps, costs: Float64Array.from({ length: steps.length + 1 }, (_, at) => at * costEach) };
}

/** Random images, one in a run. */
export function networkSamples(sampleCount: number): RunSource {
  return {
    sampleCount,
    fixedBatch: 1,
    sampleBytes: 4 * 3 * mapSize ** 2,
    async *runs(_size, limit = sampleCount) {
      for (let at = 0; at < Math.min(limit, sampleCount); at += 1)
        yield { feeds: new Map([['x', noise([1, 3, mapSize, mapSize], at + 5)]]), rows: 1, sampleCount: 1 };
    },
  };
}
