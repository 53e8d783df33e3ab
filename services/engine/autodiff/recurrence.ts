/** What the gradients of LSTM, GRU and RNN share: one direction at a time, time first, and loops over the steps. */
import { attributeOf, float32Tensor, Graph, type GraphWriter, intAttribute, type Node, stringAttribute, type Value } from '../ir/index.js';
import type { BackwardStep } from './gradient-rule.js';
import { noGradient } from './no-gradient.js';

/** One direction of a recurrent layer; every value in the order of time, whichever way the layer reads it. */
export interface Direction {
  readonly write: GraphWriter;
  /** True when the layer reads the sequence from its end. */
  readonly backwards: boolean;
  readonly steps: number;
  readonly batch: number;
  readonly inputs: number;
  readonly hidden: number;
  /** [T B, I]. */
  readonly x: Value;
  /** [G H, I], [G H, H] and, split, two of [G H]. */
  readonly w: Value;
  readonly r: Value;
  readonly wb: Value;
  readonly rb: Value;
  /** h_t and h_{t-1} as [T, B, H]. */
  readonly y: Value;
  readonly previous: Value;
  /** dL/dY as [T, B, H]; states of [B, H]. */
  readonly dy: Value;
  readonly dLast: Value;
  readonly dLastCell: Value;
  readonly first: Value;
  readonly firstCell: Value;
}

/** What a direction makes, in the sizes of Direction. */
export interface DirectionOutputs {
  readonly y: Value;
  readonly last: Value;
  readonly lastCell: Value;
}

/** Gradients of one direction, in the sizes of Direction. */
export interface DirectionGradients {
  /** Of what W makes of x, [T B, G H]. */
  readonly dInput: Value;
  readonly dw: Value;
  readonly dr: Value;
  readonly dwb: Value;
  readonly drb: Value;
  readonly dFirst: Value;
  readonly dFirstCell?: Value;
  /** Present where the direction was written anew: then these are the outputs of the layer, and its node goes. */
  readonly forward?: DirectionOutputs;
}

const activations: Readonly<Record<string, readonly string[]>> = {
  LSTM: ['Sigmoid', 'Tanh', 'Tanh'],
  GRU: ['Sigmoid', 'Tanh'],
  RNN: ['Tanh'],
};

function refuseRareForms(node: Node): void {
  if (node.inputs[4]) throw noGradient(node, 'with sequences of different lengths (sequence_lens)');
  if (node.inputs[7]) throw noGradient(node, 'with peepholes');
  if (node.attributes.has('clip')) throw noGradient(node, 'with clipped cells');
  if (intAttribute(node, 'input_forget', 0) !== 0) throw noGradient(node, 'with coupled input and forget gates');
  const given = node.attributes.get('activations');
  if (given?.kind !== 'strings') return;
  const decoder = new TextDecoder();
  const usual = activations[node.opType] ?? [];
  if (given.value.some((name, at) => decoder.decode(name).toLowerCase() !== usual[at % usual.length]?.toLowerCase()))
    throw noGradient(node, 'with other activations than the default');
}

/** The gradients of all inputs of a recurrent layer from those of each direction. */
export function recurrentGradients(
  step: BackwardStep,
  gates: number,
  gradientOf: (direction: Direction) => DirectionGradients,
): (Value | null)[] {
  const { node, write } = step;
  refuseRareForms(node);
  const layer = new RecurrentLayer(step, gates);
  const directions = Array.from({ length: layer.directions }, (_, at) => layer.direction(at));
  const found = directions.map(gradientOf);
  const stacked = (pick: (each: DirectionGradients) => Value): Value => {
    const raised = found.map((each) => write.node('Unsqueeze', [pick(each), write.ints([0])]));
    return raised.length === 1 ? (raised[0] as Value) : write.node('Concat', raised, { axis: attributeOf.int(0) });
  };
  const dx = () => found.map(({ dInput }, at) => write.node('MatMul', [dInput, (directions[at] as Direction).w]));
  const inputs: (Value | null)[] = [
    step.wants(0) ? layer.toInput(dx().reduce((left, right) => write.node('Add', [left, right]))) : null,
    step.wants(1) ? stacked(({ dw }) => dw) : null,
    step.wants(2) ? stacked(({ dr }) => dr) : null,
    step.wants(3) ? stacked(({ dwb, drb }) => write.node('Concat', [dwb, drb], { axis: attributeOf.int(0) })) : null,
    null,
    step.wants(5) ? layer.toState(stacked(({ dFirst }) => dFirst)) : null,
    step.wants(6) ? layer.toState(stacked(({ dFirst, dFirstCell }) => dFirstCell ?? dFirst)) : null,
  ];
  const outputs = found.flatMap(({ forward }) => forward ?? []);
  if (outputs.length === found.length) layer.replace(outputs);
  return inputs;
}

class RecurrentLayer {
  readonly directions: number;
  private readonly write: GraphWriter;
  private readonly node: Node;
  private readonly batchFirst: boolean;
  private readonly hidden: number;
  private readonly steps: number;
  private readonly batch: number;
  private readonly inputs: number;
  private readonly x: Value;
  /** [T, D, B, H]. */
  private readonly y: Value;
  private readonly dy: Value | null;

  constructor(
    private readonly step: BackwardStep,
    private readonly gates: number,
  ) {
    const { node, write } = step;
    this.node = node;
    this.write = write;
    this.batchFirst = intAttribute(node, 'layout', 0) === 1;
    const [first = 1, second = 1, inputs = 1] = step.shape(node.inputs[0]);
    [this.steps, this.batch] = this.batchFirst ? [second, first] : [first, second];
    this.inputs = inputs;
    const [directions = 1, , hidden = 1] = step.shape(node.inputs[2]);
    this.directions = directions;
    this.hidden = hidden;
    const x = node.inputs[0] as Value;
    const timeFirst = this.batchFirst ? write.node('Transpose', [x], { perm: attributeOf.ints([1, 0, 2]) }) : x;
    this.x = write.node('Reshape', [timeFirst, write.ints([this.steps * this.batch, inputs])]);
    this.y = this.sequence(step.output(0));
    this.dy = step.gradients[0] ? this.sequence(step.gradients[0]) : null;
  }

  /** [B, T, D, H] as [T, D, B, H]. */
  private sequence(value: Value): Value {
    return this.batchFirst ? this.write.node('Transpose', [value], { perm: attributeOf.ints([1, 2, 0, 3]) }) : value;
  }

  /** Direction `at` of a state [D, B, H] (or [B, D, H]); zeros when there is none. */
  private state(value: Value | null | undefined, at: number): Value {
    const { write, batch, hidden } = this;
    if (!value) return write.constant(float32Tensor([batch, hidden], new Float32Array(batch * hidden)));
    const axis = this.batchFirst ? 1 : 0;
    const part = this.directions === 1 ? value : write.node('Slice', [value, write.ints([at]), write.ints([at + 1]), write.ints([axis])]);
    return write.node('Reshape', [part, write.ints([batch, hidden])]);
  }

  /** Direction `at` of a sequence [T, D, B, H] as [T, B, H]. */
  private sequenceOf(value: Value, at: number): Value {
    const { write, steps, batch, hidden } = this;
    const part = this.directions === 1 ? value : write.node('Slice', [value, write.ints([at]), write.ints([at + 1]), write.ints([1])]);
    return write.node('Reshape', [part, write.ints([steps, batch, hidden])]);
  }

  private weights(index: number, at: number, dims: readonly number[]): Value {
    const { write, node } = this;
    const value = node.inputs[index];
    if (!value) return write.constant(float32Tensor(dims, new Float32Array(dims.reduce((a, b) => a * b, 1))));
    const part = this.directions === 1 ? value : write.node('Slice', [value, write.ints([at]), write.ints([at + 1]), write.ints([0])]);
    return write.node('Reshape', [part, write.ints(dims)]);
  }

  direction(at: number): Direction {
    const { write, node, step, steps, batch, hidden, inputs } = this;
    const rows = this.gates * hidden;
    const backwards = stringAttribute(node, 'direction', 'forward') === 'reverse' || at === 1;
    const bias = this.weights(3, at, [2 * rows]);
    const [wb, rb] = write.nodes('Split', [bias, write.ints([rows, rows])], { axis: attributeOf.int(0) }, 2) as [Value, Value];
    const own = this.sequenceOf(this.y, at);
    const firstState = this.state(node.inputs[5], at);
    const first = write.node('Unsqueeze', [firstState, write.ints([0])]);
    const cut = (from: number, to: number): Value => write.node('Slice', [own, write.ints([from]), write.ints([to]), write.ints([0])]);
    const shifted = backwards ? [cut(1, steps), first] : [first, cut(0, steps - 1)];
    const zeros = () => write.node('Expand', [write.float(0), write.ints([steps, batch, hidden])]);
    return {
      ...{ write, backwards, steps, batch, inputs, hidden, wb, rb },
      x: this.x,
      y: own,
      w: this.weights(1, at, [rows, inputs]),
      r: this.weights(2, at, [rows, hidden]),
      previous: steps === 1 ? first : write.node('Concat', shifted, { axis: attributeOf.int(0) }),
      dy: this.dy ? this.sequenceOf(this.dy, at) : zeros(),
      dLast: this.state(step.gradients[1], at),
      dLastCell: this.state(step.gradients[2], at),
      first: firstState,
      firstCell: this.state(node.inputs[6], at),
    };
  }

  /** The outputs of the layer come from `made`, one per direction; the node goes. */
  replace(made: readonly DirectionOutputs[]): void {
    const { write, node, batchFirst } = this;
    const stacked = (parts: readonly Value[], axis: number): Value => {
      const raised = parts.map((part) => write.node('Unsqueeze', [part, write.ints([axis])]));
      return raised.length === 1 ? (raised[0] as Value) : write.node('Concat', raised, { axis: attributeOf.int(axis) });
    };
    const makers = [
      () => {
        const y = stacked(
          made.map((each) => each.y),
          1,
        );
        return batchFirst ? write.node('Transpose', [y], { perm: attributeOf.ints([2, 0, 1, 3]) }) : y;
      },
      ...(['last', 'lastCell'] as const).map(
        (state) => () =>
          this.toState(
            stacked(
              made.map((each) => each[state]),
              0,
            ),
          ),
      ),
    ];
    for (const [index, output] of [...node.outputs].entries()) {
      if (!output) continue;
      node.setOutput(index, null);
      makers[index]?.().producer?.setOutput(0, output);
    }
    write.graph.remove([node]);
  }

  toInput(dx: Value): Value {
    const { write, steps, batch, inputs } = this;
    const timeFirst = write.node('Reshape', [dx, write.ints([steps, batch, inputs])]);
    return this.batchFirst ? write.node('Transpose', [timeFirst], { perm: attributeOf.ints([1, 0, 2]) }) : timeFirst;
  }

  toState(stacked: Value): Value {
    return this.batchFirst ? this.write.node('Transpose', [stacked], { perm: attributeOf.ints([1, 0, 2]) }) : stacked;
  }
}

interface LayerSizes {
  readonly inputs: number;
  readonly hidden: number;
}

/**
 * (dW, dR, db) = (X, H', 1)^T dG, one product over all steps: `joined` [T B, I + H + 1], `dGates` [T B, G H]. The operand that is
 * read transposed is copied for it, so it is the narrower one.
 */
export function weightGradients(
  write: GraphWriter,
  { joined, dGates }: { readonly joined: Value; readonly dGates: Value },
  { inputs, hidden }: LayerSizes,
): { readonly dw: Value; readonly dr: Value; readonly db: Value } {
  const all = write.microsoft('FusedMatMul', [joined, dGates], { transA: attributeOf.int(1) });
  const parts = write.nodes('Split', [all, write.ints([inputs, hidden, 1])], { axis: attributeOf.int(0) }, 3) as [Value, Value, Value];
  const turned = (value: Value): Value => write.node('Transpose', [value], { perm: attributeOf.ints([1, 0]) });
  return { dw: turned(parts[0]), dr: turned(parts[1]), db: write.node('Reshape', [parts[2], write.ints([-1])]) };
}

export interface Loop {
  /** [B, H] each, before the first step. */
  readonly states: readonly Value[];
  /** [T, B, ...] each. */
  readonly sequences: readonly Value[];
  /** Sizes of one step of each sequence. */
  readonly widths: readonly number[];
  readonly steps: number;
  readonly batch: number;
  readonly hidden: number;
  /** True to go from the last step to the first; results stand at their steps either way. */
  readonly fromEnd: boolean;
}

/** One step: the states before it and the parts of the sequences, to the states behind it and what is kept of it. */
type LoopBody = (write: GraphWriter, states: readonly Value[], parts: readonly Value[]) => { states: Value[]; kept: Value[] };

/**
 * Steps up to which a loop is written out: its nodes cost less than the iterations of a Scan, and products with a sum behind
 * them fuse. Kernels of one training step, LSTM of 64 units, T 96, N 64: 35 ms with Scan, 25 written out, the graph loaded in
 * .2 s (Xeon AVX512-VNNI, 2 threads, loaded).
 */
const UNROLLED = 256;

/** A loop over time. Returns the last states, and [T, ...] of everything kept. */
export function loopOverTime(write: GraphWriter, loop: Loop, body: LoopBody): { states: Value[]; kept: Value[] } {
  return loop.steps <= UNROLLED ? unrolled(write, loop, body) : scanned(write, loop, body);
}

/** The steps of a sequence, [B, width] each. Rows of all steps lie under each other: Split copies whole steps. */
export function stepsOf(
  write: GraphWriter,
  sequence: Value,
  { steps, batch }: { readonly steps: number; readonly batch: number },
  width: number,
): Value[] {
  const rows = write.node('Reshape', [sequence, write.ints([steps * batch, width])]);
  if (steps === 1) return [rows];
  const sizes = write.ints(Array.from({ length: steps }, () => batch));
  return write.nodes('Split', [rows, sizes], { axis: attributeOf.int(0) }, steps);
}

/** Steps under each other, [T B, ...]. */
export function stackOfSteps(write: GraphWriter, steps: readonly Value[]): Value {
  return steps.length === 1 ? (steps[0] as Value) : write.node('Concat', steps, { axis: attributeOf.int(0) });
}

function unrolled(write: GraphWriter, loop: Loop, body: LoopBody): { states: Value[]; kept: Value[] } {
  const { steps, batch, widths } = loop;
  const parts = loop.sequences.map((sequence, at) => stepsOf(write, sequence, loop, widths[at] ?? 1));
  const order = Array.from({ length: steps }, (_, at) => (loop.fromEnd ? steps - 1 - at : at));
  const kept: Value[][] = [];
  let states: readonly Value[] = loop.states;
  for (const at of order) {
    const results = body(
      write,
      states,
      parts.map((part) => part[at] as Value),
    );
    states = results.states;
    for (const [index, value] of results.kept.entries()) {
      const places = kept[index] ?? [];
      places[at] = value;
      kept[index] = places;
    }
  }
  const stacked = kept.map((values) => write.node('Reshape', [stackOfSteps(write, values), write.ints([steps, batch, -1])]));
  return { states: [...states], kept: stacked };
}

function scanned(write: GraphWriter, loop: Loop, body: LoopBody): { states: Value[]; kept: Value[] } {
  const graph = new Graph('step');
  const inner = write.within(graph);
  const type = (width: number) => ({ kind: 'tensor', dataType: 'float32', shape: [loop.batch, width] }) as const;
  const states = loop.states.map(() => inner.value('state', type(loop.hidden)));
  const parts = loop.widths.map((width) => inner.value('part', type(width)));
  graph.inputs.push(...states, ...parts);
  const results = body(inner, states, parts);
  const made = [...results.states, ...results.kept];
  for (const value of made) value.type ??= { kind: 'tensor', dataType: 'float32', shape: [loop.batch, null] };
  graph.outputs.push(...made);
  const way = loop.fromEnd ? 1 : 0;
  const outputs = write.nodes(
    'Scan',
    [...loop.states, ...loop.sequences],
    {
      body: attributeOf.graph(graph),
      num_scan_inputs: attributeOf.int(loop.sequences.length),
      scan_input_directions: attributeOf.ints(loop.sequences.map(() => way)),
      scan_output_directions: attributeOf.ints(results.kept.map(() => way)),
    },
    made.length,
  );
  return { states: outputs.slice(0, results.states.length), kept: outputs.slice(results.states.length) };
}
