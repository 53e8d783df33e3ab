/** Writes every point of a plan into a model in one form, and its recurrent layers as loops over their cells. Edits it in place. */
import {
  float32Tensor,
  type GraphWriter,
  type Model,
  type NameAuthority,
  type Node,
  replaceAllUses,
  sortTopologically,
  type Value,
} from '../ir/index.js';
import type { PointForm } from './point-form.js';
import type { Point, QuantizationPlan } from './quantization-plan.js';
import { writeRecurrent } from './recurrent-scan.js';

export interface Rewriting {
  readonly model: Model;
  readonly names: NameAuthority;
  readonly write: GraphWriter;
  readonly form: PointForm;
  /** Steps of the layers that are written out, by the id of what they read; the others become loops. */
  readonly steps?: ReadonlyMap<string, number>;
}

/** `model` is the one that the plan was made of, or a copy of it; missing biases of recurrent layers become zeros of their names. */
export function rewriteGraph(plan: QuantizationPlan, { model, names, write, form, steps }: Rewriting): void {
  const { graph } = model;
  const before = [...graph.nodes];
  const values = new Map(before.flatMap(({ outputs }) => outputs.flatMap((value) => (value ? [[value.name, value] as const] : []))));
  const layers = new Map(plan.recurrents.map((planned) => [before[planned.at] as Node, planned]));
  for (const { point, value, reading } of plan.values) {
    if (reading) roundReading(before[reading.at] as Node, reading.input, { point, write, form });
    else roundValue(values.get(value) as Value, { point, write, form, names });
  }
  for (const [node, planned] of layers) {
    const inputs = [...node.inputs];
    inputs[3] ??= zeroBias(model, planned);
    const count = steps?.get(planned.input.id);
    const outputs = writeRecurrent({ write, planned, inputs, form, ...(count === undefined ? {} : { steps: count }) });
    const made = [outputs.sequence, outputs.hidden, outputs.cell];
    for (const [at, from] of node.outputs.entries()) {
      const to = made[at];
      if (from && to) replaceAllUses(graph, { from, to }, names);
    }
    graph.remove([node]);
  }
  sortTopologically(graph);
}

interface Writing {
  readonly point: Point;
  readonly write: GraphWriter;
  readonly form: PointForm;
}

function roundReading(node: Node, input: number, { point, write, form }: Writing): void {
  const value = node.inputs[input] as Value;
  form.observe?.(point, value);
  node.setInput(input, form.load(write, point, form.store(write, point, value)));
}

function roundValue(value: Value, { point, write, form, names }: Writing & { names: NameAuthority }): void {
  form.observe?.(point, value);
  const readers = new Set(value.consumers);
  const rounded = form.load(write, point, form.store(write, point, value));
  if (rounded === value) return;
  const own = value.consumers.filter((node) => !readers.has(node));
  replaceAllUses(write.graph, { from: value, to: rounded, except: own }, names);
}

function zeroBias({ graph }: Model, { bias, layer }: QuantizationPlan['recurrents'][number]): Value {
  const rows = 2 * layer.gates * layer.hidden;
  return graph.addInitializer(bias, float32Tensor([layer.directions, rows], new Float32Array(layer.directions * rows)));
}
