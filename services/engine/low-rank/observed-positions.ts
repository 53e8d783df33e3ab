/** How often layers are computed in one run, and the multiply-accumulates of the whole model: sizes from a run of one sample. */

import { graphsWithin, type Model, type Value } from '../ir/index.js';
import type { MethodContext, RunSource } from '../method.js';
import { countMacs, operatorTraits } from '../ops/index.js';
import { observeActivations } from '../timing/observed-activations.js';
import type { LayerPositions } from './factors.js';
import type { MatrixLayer } from './matrix-layers.js';

export interface ObservedPositions {
  /** Of a layer whose sizes could not be seen: one position. */
  of(layer: MatrixLayer): LayerPositions;
  /** Multiply-accumulates of one run. */
  readonly macs: number;
}

const multiplying: ReadonlySet<string | undefined> = new Set(['linear', 'attention', 'recurrent']);

/** Throws what cancelling throws; a model that does not run leaves what it declares. */
export async function observePositions(model: Model, context: MethodContext): Promise<ObservedPositions> {
  const nodes = [...graphsWithin(model.graph)].flatMap((graph) => graph.nodes);
  const wanted = nodes
    .filter(({ domain, opType }) => multiplying.has(operatorTraits(domain, opType)?.category))
    .flatMap(({ inputs, outputs }) => [...inputs, ...outputs])
    .filter((value): value is Value => value !== null);
  const { calibration } = context;
  const observed = await observeActivations(model, wanted, calibration ? { ...context, calibration: firstOf(calibration) } : context);
  const shapes = new Map([...observed].map(([value, { dims }]) => [value.name, dims] as const));
  return {
    of({ source, kernel }) {
      const [before, after] = [shapes.get(source.activation.name), shapes.get(source.node.outputs[0]?.name ?? '')];
      const ones = kernel.map(() => 1);
      if (!before) return { rows: 1, input: ones, output: ones };
      if (source.kind === 'dense') return { rows: before.slice(0, -1).reduce((product, size) => product * size, 1), input: [], output: [] };
      return { rows: before[0] ?? 1, input: before.slice(2), output: after?.slice(2) ?? ones };
    },
    macs: countMacs(model, shapes).total,
  };
}

function firstOf(source: RunSource): RunSource {
  return { ...source, sampleCount: Math.min(1, source.sampleCount), runs: (size) => source.runs(size, 1) };
}
