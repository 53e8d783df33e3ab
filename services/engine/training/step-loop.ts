/** Several steps in one run of the runtime: the training graph as the body of a Scan over batches. */
import { attributeOf, cloneModel, Graph, type Model, NameAuthority, Node, type Shape, Value } from '../ir/index.js';
import type { OptimizerStep } from './optimizer.js';
import type { TrainingGraph } from './training-graph.js';

export interface StepLoop {
  readonly model: Model;
  /** Inputs that take one value per step, stacked along a new first axis: those of the model and of the objective, and the rates. */
  readonly sequences: readonly string[];
  /** Outputs with one value per step, stacked: the loss, the first output of the model, statistics of the batches. */
  readonly observed: readonly string[];
}

/** Size of the first axis of `sequences`: the runtime takes any number of steps. */
const STEPS = 'steps';

/**
 * What moves is the state of the loop and crosses the border of the runtime once per run; what stands still is read from
 * outside the body. Every step runs the same kernels on the same sizes, so that the trajectory does not depend on how steps
 * are divided among runs. `graph` is left as it is.
 */
export function loopOverSteps(graph: TrainingGraph, { moving }: OptimizerStep): StepLoop {
  const model = cloneModel(graph.model);
  const names = new NameAuthority(model);
  const body = model.graph;
  const { states, sequences, still } = inputsByKind(body, graph, moving);
  const observed = [...new Set([graph.loss, graph.output, ...graph.statistics.flatMap((each) => [each.batchMean, each.batchVariance])])];
  const loop = { sequences: sequences.map(({ name }) => name), observed };
  const results = new Map(body.outputs.map((value) => [value.name, value] as const));
  const made = [...moving.map(({ output }) => output), ...observed].map((name) => results.get(name) as Value);
  /** Names inside and outside differ: ONNX has no shadowing. The border keeps those that it had. */
  const outside = (inner: Value, type: Value['type']): Value => {
    const value = new Value(inner.name, type);
    inner.name = names.valueName(`step/${inner.name}`);
    return value;
  };
  const inputs = [...states.map((value) => outside(value, value.type)), ...sequences.map((value) => outside(value, stacked(value, STEPS)))];
  const outputs = made.map((value, at) => outside(value, states[at]?.type ?? stacked(value, null)));
  body.inputs.splice(0, Number.POSITIVE_INFINITY, ...states, ...sequences);
  body.outputs.splice(0, Number.POSITIVE_INFINITY, ...made);
  const attributes = { body: attributeOf.graph(body), num_scan_inputs: attributeOf.int(sequences.length) };
  model.graph = new Graph('steps');
  model.graph.inputs.push(...inputs, ...still);
  model.graph.append(new Node({ opType: 'Scan', name: names.nodeName('steps'), inputs, outputs, attributes }));
  model.graph.outputs.push(...outputs);
  return { model, ...loop };
}

interface InputsByKind {
  /** What a step reads and writes anew, in the order of `moving`. */
  readonly states: readonly Value[];
  /** Parameters and statistics that stand still during a run. */
  readonly still: readonly Value[];
  /** What every step is given. */
  readonly sequences: readonly Value[];
}

function inputsByKind({ inputs }: Graph, { parameters, statistics }: TrainingGraph, moving: OptimizerStep['moving']): InputsByKind {
  const named = new Map(inputs.map((value) => [value.name, value] as const));
  const states = moving.flatMap(({ input }) => named.get(input) ?? []);
  const stored = new Set([...parameters, ...statistics.flatMap(({ mean, variance }) => [mean, variance])].map(({ name }) => name));
  const others = inputs.filter((value) => !states.includes(value));
  return { states, still: others.filter(({ name }) => stored.has(name)), sequences: others.filter(({ name }) => !stored.has(name)) };
}

/** The type of one value per step. Null for `steps`: no sizes are said. */
function stacked({ type }: Value, steps: string | null): Value['type'] {
  if (type?.kind !== 'tensor') return type;
  const shape: Shape | null = steps === null || !type.shape ? null : [steps, ...type.shape];
  return { ...type, shape };
}
