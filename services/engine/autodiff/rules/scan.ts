/** The gradient of Scan: the same loop backwards, each step computed again from the states that it began with. */
import {
  type Attribute,
  attributeOf,
  cloneGraph,
  type Graph,
  type GraphWriter,
  graphAttribute,
  intAttribute,
  intsAttribute,
  type Node,
  type Value,
} from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';

const float32 = { kind: 'tensor', dataType: 'float32', shape: null } as const;

/** The parts of a Scan: [..., s', ...y_t] = body(...s, ...x_t) for each t, in the order of its inputs and outputs. */
interface ScanParts {
  readonly node: Node;
  readonly body: Graph;
  /** Number of states s, and of sequences x and y. */
  readonly states: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly inputAxes: readonly number[];
  readonly outputAxes: readonly number[];
  /** 1 for a sequence that runs from its end. */
  readonly inputDirections: readonly number[];
  readonly outputDirections: readonly number[];
}

function partsOf(node: Node): ScanParts | undefined {
  const body = graphAttribute(node, 'body');
  if (!body) return undefined;
  const inputs = intAttribute(node, 'num_scan_inputs', 0);
  const states = node.inputs.length - inputs;
  const outputs = body.outputs.length - states;
  const numbers = (name: string, count: number): readonly number[] =>
    intsAttribute(node, name, undefined) ?? Array.from({ length: count }, () => 0);
  return {
    ...{ node, body, states, inputs, outputs },
    ...{ inputAxes: numbers('scan_input_axes', inputs), outputAxes: numbers('scan_output_axes', outputs) },
    ...{ inputDirections: numbers('scan_input_directions', inputs), outputDirections: numbers('scan_output_directions', outputs) },
  };
}

const isFloat = ({ type }: Value): boolean => type?.kind !== 'tensor' || type.dataType === null || type.dataType === 'float32';

/** The states before each step as further outputs of the forward loop, [T, ...] each, the first step first. */
function savedStates({ write }: BackwardStep, parts: ScanParts): Value[] {
  const { node, body, states, outputAxes, outputDirections } = parts;
  const inner = write.within(body);
  const saved = body.inputs.slice(0, states).map((state, at) => {
    const own = inner.node('Identity', [state]);
    own.type = state.type;
    body.outputs.push(own);
    const value = write.value('state');
    node.setOutput(states + parts.outputs + at, value);
    return value;
  });
  const more = saved.map(() => 0);
  node.attributes.set('scan_output_axes', attributeOf.ints([...outputAxes, ...more]));
  node.attributes.set('scan_output_directions', attributeOf.ints([...outputDirections, ...more]));
  return saved;
}

interface BackwardBody {
  readonly graph: Graph;
  /** Indices of the states and of the sequences that get a gradient, and of the outputs that bring one. */
  readonly moved: readonly number[];
  readonly wanted: readonly number[];
  readonly arriving: readonly number[];
  readonly captured: readonly Value[];
}

/** (ds', sums of captured gradients, s, x_t, dy_t) to (ds, sums, dx_t): one step computed again, and its gradient behind it. */
function backwardBody(step: BackwardStep, { body, states, inputs, outputs }: ScanParts): BackwardBody {
  const graph = cloneGraph(body);
  const write = step.write.within(graph);
  const range = (count: number): number[] => Array.from({ length: count }, (_, at) => at);
  const moved = range(states).filter((at) => isFloat(graph.inputs[at] as Value));
  const wanted = range(inputs).filter((at) => step.wants(states + at));
  const arriving = range(outputs).filter((at) => step.gradients[states + at]);
  const { captured } = step;
  const entering = (names: readonly unknown[], name: string): Value[] => names.map(() => write.value(name, float32));
  const [dStates, sums, dOutputs] = [entering(moved, 'state'), entering(captured, 'sum'), entering(arriving, 'part')];
  const cotangents = new Map<Value, Value>();
  const add = (value: Value, gradient: Value): void => {
    const earlier = cotangents.get(value);
    cotangents.set(value, earlier ? write.node('Add', [earlier, gradient]) : gradient);
  };
  for (const [at, index] of moved.entries()) add(graph.outputs[index] as Value, dStates[at] as Value);
  for (const [at, index] of arriving.entries()) add(graph.outputs[states + index] as Value, dOutputs[at] as Value);
  const own = [...moved, ...wanted.map((at) => states + at)].map((index) => graph.inputs[index] as Value);
  const found = step.gradientsIn(graph, cotangents, [...own, ...captured]);
  const total = (value: Value): Value => found.get(value) ?? zerosLike(write, value);
  const results = [
    ...moved.map((index) => total(graph.inputs[index] as Value)),
    ...captured.map((value, at) => write.node('Add', [sums[at] as Value, total(value)])),
    ...wanted.map((index) => total(graph.inputs[states + index] as Value)),
  ].map((value) => write.node('Identity', [value]));
  for (const value of results) value.type = float32;
  graph.inputs.splice(0, Number.POSITIVE_INFINITY, ...dStates, ...sums, ...graph.inputs, ...dOutputs);
  graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...results);
  return { graph, moved, wanted, arriving, captured };
}

const zerosLike = (write: GraphWriter, value: Value): Value => write.node('ConstantOfShape', [write.node('Shape', [value])]);

/**
 * s_t = f(s_{t-1}, x_t), y_t = g(s_{t-1}, x_t): with S_t the adjoint of s_t, from the last step to the first
 *   S_{t-1} = (df/ds)^T S_t + (dg/ds)^T y_t', x_t' = (df/dx)^T S_t + (dg/dx)^T y_t',
 * and values from outside gather a share in every step (backpropagation through time, Werbos 1990). Only the states are kept.
 */
const scan: GradientRule = (step) => {
  const { node, write } = step;
  const parts = partsOf(node);
  if (!parts) return [];
  const { states, inputs, inputAxes, outputAxes, inputDirections, outputDirections } = parts;
  const { graph, moved, wanted, arriving, captured } = backwardBody(step, parts);
  const saved = savedStates(step, parts);
  const sequences = node.inputs.slice(states);
  const initial = [
    ...moved.map((at) => step.gradients[at] ?? zerosLike(write, node.inputs[at] as Value)),
    ...captured.map((value) => zerosLike(write, value)),
  ];
  const turned = (directions: readonly number[]): number[] => directions.map((direction) => 1 - direction);
  const of = (numbers: readonly number[], indices: readonly number[]): number[] => indices.map((at) => numbers[at] ?? 0);
  const attributes: Record<string, Attribute> = {
    body: attributeOf.graph(graph),
    num_scan_inputs: attributeOf.int(states + inputs + arriving.length),
    scan_input_axes: attributeOf.ints([...saved.map(() => 0), ...inputAxes, ...of(outputAxes, arriving)]),
    scan_input_directions: attributeOf.ints([...saved.map(() => 1), ...turned(inputDirections), ...turned(of(outputDirections, arriving))]),
    scan_output_axes: attributeOf.ints(of(inputAxes, wanted)),
    scan_output_directions: attributeOf.ints(turned(of(inputDirections, wanted))),
  };
  const read = [...initial, ...saved, ...sequences, ...arriving.map((at) => step.gradients[states + at] as Value)];
  const made = write.nodes('Scan', read, attributes, initial.length + wanted.length);
  for (const [at, value] of captured.entries()) step.give(value, made[moved.length + at] as Value);
  const gradients: (Value | null)[] = node.inputs.map(() => null);
  for (const [at, index] of moved.entries()) gradients[index] = made[at] as Value;
  for (const [at, index] of wanted.entries()) gradients[states + index] = made[initial.length + at] as Value;
  return gradients;
};

export const scanRules = { Scan: scan } as const satisfies Record<string, GradientRule>;
