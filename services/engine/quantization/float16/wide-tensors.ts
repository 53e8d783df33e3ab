/** Tensors that a 16 bit format cannot hold, found by running samples. */
import { calibrate } from '../../calibration/index.js';
import type { Model, Value } from '../../ir/index.js';
import type { CalibrationSummary, MethodContext, RunSource } from '../../method.js';
import { factsOf } from '../../passes/constant-nodes.js';
import type { HalfFormat } from './half-format.js';

export interface WideTensors {
  readonly names: ReadonlySet<string>;
  readonly calibration: CalibrationSummary;
}

/** The float32 tensors of the main graph with |x| beyond the largest value of the format in any sample. */
export async function wideTensors(
  model: Model,
  format: HalfFormat,
  { samples, context }: { samples: RunSource; context: MethodContext },
): Promise<WideTensors> {
  const facts = factsOf(model);
  const made = model.graph.nodes.flatMap((node) => (node.opType === 'Constant' ? [] : node.outputs));
  const tensors = [...model.graph.inputs.filter((input) => !model.graph.initializers.has(input)), ...made]
    .filter((value): value is Value => facts.fact(value).dataType === 'float32')
    .map(({ name }) => name);
  const { tensors: statistics, summary } = await calibrate({ model, tensors, samples, options: { method: 'minmax' }, context });
  const names = [...statistics].filter(([, { min, max }]) => Math.max(-min, max) > format.max).map(([name]) => name);
  return { names: new Set(names), calibration: summary };
}
