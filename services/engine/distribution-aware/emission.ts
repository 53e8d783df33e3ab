/** The artifact: weights as packed codes that are widened when the model loads, activations through codes in bytes. */
import { float32Tensor, GraphWriter, type Model, NameAuthority, type Node, type Value } from '../ir/index.js';
import { fromRows } from '../layers/channel-layout.js';
import { WeightStore } from '../layers/weight-store.js';
import { StoredWeights } from '../quantization/weight-storage/index.js';
import { CodeForm } from './point-form.js';
import type { QuantizationPlan } from './quantization-plan.js';
import { rewriteGraph } from './rewritten-graph.js';
import { pointCodes, type Settings } from './simulated-model.js';

/** Edits `model`, that the plan was made of (or a copy of it), in place. */
export function emitQuantized(model: Model, plan: QuantizationPlan, settings: Settings): void {
  const names = new NameAuthority(model);
  const write = new GraphWriter(model, names, model.graph, 'q');
  const before = new Set(model.graph.nodes);
  rewriteGraph(plan, { model, names, write, form: new CodeForm(write, ({ id }) => pointCodes(settings, id)) });
  shortenNames(
    model,
    model.graph.nodes.filter((node) => !before.has(node)),
    names,
  );
  const store = new WeightStore(model);
  const constants = new Map(store.all().map((constant) => [constant.value.name, constant]));
  for (const [name, values] of settings.biases) {
    const constant = constants.get(name);
    if (constant) store.replace(constant, float32Tensor(constant.tensor.dims, values));
  }
  const stored = new StoredWeights(store, model.opset);
  for (const { constant, layout } of plan.weights) {
    const target = constants.get(constant.value.name);
    const rounded = settings.weights.get(constant.value.name);
    if (!target || !rounded) continue;
    const codes = fromRows(rounded.codes, layout, Int8Array);
    stored.write(target, { bits: containerOf(rounded.bits), codes, scales: rounded.scales, layout });
  }
  stored.finish();
}

/** 3 and 4 bits are packed; 5 to 7 lie in bytes. */
function containerOf(bits: number): 3 | 4 | 8 {
  return bits === 3 || bits === 4 ? bits : 8;
}

/** Beside weights of few bits, long names are a tenth of the file. */
function shortenNames({ graph }: Model, nodes: readonly Node[], names: NameAuthority): void {
  const shorten = (value: Value | null): void => {
    if (value && !graph.isOutput(value)) value.name = names.valueName('q');
  };
  const shortenNode = (node: Node): void => {
    node.name = '';
    for (const output of node.outputs) shorten(output);
    for (const { inputs, nodes: inner } of node.subgraphs) {
      for (const input of inputs) shorten(input);
      for (const each of inner) shortenNode(each);
    }
  };
  for (const node of nodes) shortenNode(node);
}
