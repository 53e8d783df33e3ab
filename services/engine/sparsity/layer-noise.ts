/** How far pruning moves the output of each layer: alone, with the inputs of the dense network, and with everything before it pruned. */

import { innerFidelity } from '../evaluation/model-fidelity.js';
import { attributeOf, float32Tensor, float32Values, type Model, type Node, type Value } from '../ir/index.js';
import type { LayerReport, MethodContext, RunSource } from '../method.js';
import { ProbeGraph } from '../normal-equations/probe-graph.js';
import { runAll } from '../normal-equations/row-sums.js';
import type { PrunableWeight } from './prunable-weights.js';

export type LayerNoise = Pick<LayerReport, 'sqnr_local_db' | 'sqnr_db'>;

export interface NoiseRequest {
  /** The dense model. */
  readonly dense: Model;
  readonly pruned: Model;
  /** Values of the weights that were pruned, in memory order. */
  readonly values: ReadonlyMap<PrunableWeight, Float32Array>;
  readonly samples: RunSource;
  readonly context: MethodContext;
}

/** Enough for one decimal of a signal to noise ratio over the elements of a layer. */
const SAMPLES = 8;

/** By layer of the main graph; what does not differ has no ratio. */
export async function layerNoise(request: NoiseRequest): Promise<Map<Node, LayerNoise>> {
  const { dense, pruned, samples, context } = request;
  const alone = await localRatios(request);
  const outputs = new Map([...alone.keys()].map((node) => [node, node.outputs.find((output) => output !== null)?.name ?? '']));
  const pair = { candidate: pruned, reference: dense, values: [...outputs.values()] };
  const together = await innerFidelity(pair, { source: samples, limit: SAMPLES }, context);
  return new Map(
    [...alone].map(([node, sqnr_local_db]) => {
      const sqnr_db = together.get(outputs.get(node) ?? '');
      return [node, { ...(Number.isFinite(sqnr_local_db) ? { sqnr_local_db } : {}), ...(sqnr_db === undefined ? {} : { sqnr_db }) }];
    }),
  );
}

/** 10 log10(sum y^2 / sum (y - y')^2) in dB: y of the dense network, y' of a second node on the same inputs with the pruned weights. */
async function localRatios({ dense, values, samples, context }: NoiseRequest): Promise<Map<Node, number>> {
  const probe = new ProbeGraph(dense);
  const sums = new Map<Node, { readonly signal: string; readonly noise: string; total: [number, number] }>();
  for (const [node, weights] of prunedInputs(dense, values)) {
    const at = node.outputs.findIndex((output) => output !== null);
    const output = probe.value(node.outputs[at]?.name ?? '');
    if (!output?.producer) continue;
    const difference = probe.node('Sub', [output, again(probe, { twin: output.producer, at }, weights)]);
    const square = (value: Value): string =>
      probe.output(probe.node('ReduceSumSquare', [value], { keepdims: attributeOf.int(0) }), 'float32');
    sums.set(node, { signal: square(output), noise: square(difference), total: [0, 0] });
  }
  if (sums.size === 0) return new Map();
  await runAll({ model: probe.pruned(), samples, size: 1, limit: SAMPLES, context }, (fetched) => {
    for (const sum of sums.values()) {
      for (const [at, name] of [sum.signal, sum.noise].entries()) {
        const tensor = fetched.get(name);
        sum.total[at as 0 | 1] += tensor ? (float32Values(tensor)[0] ?? 0) : 0;
      }
    }
  });
  return new Map(
    [...sums].map(
      ([
        node,
        {
          total: [signal, noise],
        },
      ]) => [node, 10 * Math.log10(signal / noise)],
    ),
  );
}

interface PrunedInput {
  readonly weight: PrunableWeight;
  readonly index: number;
  readonly values: Float32Array;
}

function prunedInputs({ graph }: Model, values: NoiseRequest['values']): Map<Node, PrunedInput[]> {
  const inputs = new Map<Node, PrunedInput[]>();
  for (const [weight, pruned] of values) {
    for (const { node, index } of weight.readers) {
      if (node.graph === graph) inputs.set(node, [...(inputs.get(node) ?? []), { weight, index, values: pruned }]);
    }
  }
  return inputs;
}

/** The output of the same operator on the same inputs, with other weights. */
function again(probe: ProbeGraph, { twin, at }: { twin: Node; at: number }, weights: readonly PrunedInput[]): Value {
  const inputs = [...twin.inputs];
  for (const { weight, index, values } of weights) {
    const constant = probe.constant(float32Tensor(weight.constant.tensor.dims, values));
    const before = twin.inputs[index]?.producer;
    inputs[index] = before?.opType === 'Transpose' ? probe.node('Transpose', [constant], Object.fromEntries(before.attributes)) : constant;
  }
  return probe.node(twin.opType, inputs, Object.fromEntries(twin.attributes), at);
}
