/**
 * An LSTM or GRU written as a Scan over its cell, with every tensor of the cell through a form of rounding (ONNX operators LSTM
 * and GRU, the equations with default activations):
 *   LSTM  [i o f g] = gates(W x + R h + b);  c' = f c + i g;  h' = o tanh(c')
 *   GRU   z, r = gates(W x + R h + b);  n = tanh(W x + r (R h + Rb) + Wb) or tanh(W x + R (r h) + b);  h' = (1 - z) n + z h
 */
import { attributeOf, Graph, type GraphWriter, type Value } from '../ir/index.js';
import type { PointForm } from './point-form.js';
import { type DirectionPoints, innerPoints, type PlannedRecurrent } from './quantization-plan.js';

export interface ScanRequest {
  readonly write: GraphWriter;
  readonly planned: PlannedRecurrent;
  /** The layer's inputs X, W, R, B, -, h, c as values of the graph that is written. */
  readonly inputs: readonly (Value | null)[];
  readonly form: PointForm;
  /** Written out step by step where the number of steps is known: what gradients are taken of. */
  readonly steps?: number;
}

/** Y [T, D, B, H], Y_h and Y_c [D, B, H], as the operator makes them. */
export interface LayerOutputs {
  readonly sequence: Value;
  readonly hidden: Value;
  readonly cell: Value | null;
}

export function writeRecurrent(request: ScanRequest): LayerOutputs {
  const { write, planned, inputs, form } = request;
  const [x] = inputs as [Value];
  form.observe?.(planned.input, x);
  const rounded = form.load(write, planned.input, form.store(write, planned.input, x));
  const directions = planned.directions.map((points, at) => new DirectionScan(request, points, at).run(rounded));
  const stacked = (pick: (each: DirectionResult) => Value, axis: number): Value => {
    const raised = directions.map((each) => write.node('Unsqueeze', [pick(each), write.ints([axis])]));
    return raised.length === 1 ? (raised[0] as Value) : write.node('Concat', raised, { axis: attributeOf.int(axis) });
  };
  return {
    sequence: stacked(({ sequence }) => sequence, 1),
    hidden: stacked(({ hidden }) => hidden, 0),
    cell: planned.layer.kind === 'LSTM' ? stacked(({ cell, hidden }) => cell ?? hidden, 0) : null,
  };
}

interface DirectionResult {
  readonly sequence: Value;
  readonly hidden: Value;
  readonly cell: Value | null;
}

/** What one step makes: the states as they are kept, and what is to be seen of it. */
interface Step {
  readonly states: readonly Value[];
  readonly seen: readonly Value[];
}

class DirectionScan {
  private readonly write: GraphWriter;
  private readonly form: PointForm;
  private readonly rows: number;

  constructor(
    private readonly request: ScanRequest,
    private readonly points: DirectionPoints,
    private readonly at: number,
  ) {
    this.write = request.write;
    this.form = request.form;
    const { gates, hidden } = request.planned.layer;
    this.rows = gates * hidden;
  }

  run(x: Value): DirectionResult {
    const { write, form, points } = this;
    const { layer } = this.request.planned;
    const isLstm = layer.kind === 'LSTM';
    const kept = isLstm && points.cell ? [points.hidden, points.cell] : [points.hidden];
    const first = kept.map((point, index) => form.store(write, point, this.firstState(x, index)));
    const fromInput = write.node('Add', [write.node('MatMul', [x, this.transposed(1, layer.inputs)]), this.inputBias()]);
    const recurrence = this.part(2, [this.rows, layer.hidden]);
    const { steps } = this.request;
    const outputs =
      steps === undefined ? this.scan(first, fromInput, recurrence) : this.writtenOut(first, fromInput, { recurrence, steps });
    return {
      sequence: form.load(write, points.hidden, outputs[kept.length] as Value),
      hidden: form.load(write, points.hidden, outputs[0] as Value),
      cell: points.cell ? form.load(write, points.cell, outputs[1] as Value) : null,
    };
  }

  private step(write: GraphWriter, states: readonly Value[], { step, recurrence }: { step: Value; recurrence: Value }): Step {
    const isLstm = this.request.planned.layer.kind === 'LSTM';
    return isLstm ? this.lstm(write, states, { step, recurrence }) : this.gru(write, states, { step, recurrence });
  }

  /** The last states, then the sequence [T, B, H] of what is kept of the hidden state. */
  private scan(first: readonly Value[], fromInput: Value, recurrence: Value): Value[] {
    const { write, form, points } = this;
    const { hidden, backwards } = this.request.planned.layer;
    const body = new Graph('cell');
    const inner = write.within(body);
    const typed = (name: string, dataType: 'float32' | 'uint8', width: number): Value =>
      inner.value(name, { kind: 'tensor', dataType, shape: [null, width] });
    const states = first.map(() => typed('state', form.storedType, hidden));
    const step = typed('step', 'float32', this.rows);
    body.inputs.push(...states, step);
    const made = this.step(inner, states, { step, recurrence });
    const sequence = inner.node('Identity', [made.states[0] as Value]);
    const seen = form.observe ? alias(inner, made.seen) : [];
    for (const value of [...made.states, sequence]) value.type = { kind: 'tensor', dataType: form.storedType, shape: null };
    for (const value of seen) value.type = { kind: 'tensor', dataType: 'float32', shape: null };
    body.outputs.push(...made.states, sequence, ...seen);
    const way = backwards[this.at] ? 1 : 0;
    const attributes = {
      body: attributeOf.graph(body),
      num_scan_inputs: attributeOf.int(1),
      scan_input_directions: attributeOf.ints([way]),
      scan_output_directions: attributeOf.ints(Array.from({ length: 1 + seen.length }, () => way)),
    };
    const outputs = write.nodes('Scan', [...first, fromInput], attributes, first.length + 1 + seen.length);
    if (form.observe)
      for (const [index, point] of innerPoints(points).entries()) form.observe(point, outputs[first.length + 1 + index] as Value);
    return outputs;
  }

  private writtenOut(first: readonly Value[], fromInput: Value, { recurrence, steps }: { recurrence: Value; steps: number }): Value[] {
    const { write } = this;
    const isBackwards = this.request.planned.layer.backwards[this.at] === true;
    const parts = split(
      write,
      fromInput,
      Array.from({ length: steps }, () => 1),
      0,
    );
    const sequence: Value[] = [];
    let states = first;
    for (let at = 0; at < steps; at += 1) {
      const place = isBackwards ? steps - 1 - at : at;
      const step = write.node('Squeeze', [parts[place] as Value, write.ints([0])]);
      states = this.step(write, states, { step, recurrence }).states;
      sequence[place] = write.node('Unsqueeze', [states[0] as Value, write.ints([0])]);
    }
    return [...states, write.node('Concat', sequence, { axis: attributeOf.int(0) })];
  }

  private lstm(inner: GraphWriter, states: readonly Value[], { step, recurrence }: { step: Value; recurrence: Value }): Step {
    const { form, points } = this;
    const cellPoint = points.cell ?? points.hidden;
    const [h, c] = [form.load(inner, points.hidden, states[0] as Value), form.load(inner, cellPoint, states[1] as Value)];
    const gates = product(inner, h, recurrence, step);
    const rounded = form.load(inner, points.gates, form.store(inner, points.gates, gates));
    const { hidden } = this.request.planned.layer;
    const [squashed, candidate] = split(inner, rounded, [3 * hidden, hidden]) as [Value, Value];
    const [i, o, f] = split(inner, inner.node('Sigmoid', [squashed]), [hidden, hidden, hidden]) as [Value, Value, Value];
    const added = inner.node('Mul', [i, inner.node('Tanh', [candidate])]);
    const cell = inner.node('Add', [inner.node('Mul', [f, c]), added]);
    const keptCell = form.store(inner, cellPoint, cell);
    const shown = inner.node('Mul', [o, inner.node('Tanh', [form.load(inner, cellPoint, keptCell)])]);
    return { states: [form.store(inner, points.hidden, shown), keptCell], seen: [gates, cell, shown] };
  }

  private gru(inner: GraphWriter, states: readonly Value[], { step, recurrence }: { step: Value; recurrence: Value }): Step {
    const { form, points } = this;
    const { hidden, resetAfter } = this.request.planned.layer;
    const candidatePoint = points.candidate ?? points.gates;
    const h = form.load(inner, points.hidden, states[0] as Value);
    const [gateStep, candidateStep] = split(inner, step, [2 * hidden, hidden]) as [Value, Value];
    const [gateRows, candidateRows] = split(inner, recurrence, [2 * hidden, hidden], 0) as [Value, Value];
    const gates = product(inner, h, gateRows, gateStep);
    const rounded = form.load(inner, points.gates, form.store(inner, points.gates, gates));
    const [update, reset] = split(inner, inner.node('Sigmoid', [rounded]), [hidden, hidden]) as [Value, Value];
    const candidate = resetAfter
      ? inner.node('Add', [candidateStep, inner.node('Mul', [reset, product(inner, h, candidateRows, this.candidateBias())])])
      : product(inner, inner.node('Mul', [reset, h]), candidateRows, candidateStep);
    const inside = form.load(inner, candidatePoint, form.store(inner, candidatePoint, candidate));
    const fresh = inner.node('Mul', [inner.node('Sub', [inner.float(1), update]), inner.node('Tanh', [inside])]);
    const next = inner.node('Add', [fresh, inner.node('Mul', [update, h])]);
    return { states: [form.store(inner, points.hidden, next)], seen: [gates, candidate, next] };
  }

  /** [B, H]: the state that is given, or zeros. */
  private firstState(x: Value, index: number): Value {
    const { write, request } = this;
    const { hidden, directions } = request.planned.layer;
    const given = request.inputs[5 + index];
    if (given) {
      const one =
        directions === 1 ? given : write.node('Slice', [given, write.ints([this.at]), write.ints([this.at + 1]), write.ints([0])]);
      return write.node('Squeeze', [one, write.ints([0])]);
    }
    const shape = write.node('Shape', [x]);
    const batch = write.node('Slice', [shape, write.ints([1]), write.ints([2]), write.ints([0])]);
    const dims = write.node('Concat', [batch, write.ints([hidden])], { axis: attributeOf.int(0) });
    return write.node('Expand', [write.float(0), dims]);
  }

  /** Direction `at` of W, R or B, in these sizes. */
  private part(index: number, dims: readonly number[]): Value {
    const { write, request } = this;
    const value = request.inputs[index] as Value;
    const isOnly = request.planned.layer.directions === 1;
    const one = isOnly ? value : write.node('Slice', [value, write.ints([this.at]), write.ints([this.at + 1]), write.ints([0])]);
    return write.node('Reshape', [one, write.ints(dims)]);
  }

  private transposed(index: number, columns: number): Value {
    return this.write.node('Transpose', [this.part(index, [this.rows, columns])], { perm: attributeOf.ints([1, 0]) });
  }

  /** What is added before the loop: both biases, but for the candidate of a GRU whose reset gate multiplies its own. */
  private inputBias(): Value {
    const { write, rows } = this;
    const { kind, hidden, resetAfter } = this.request.planned.layer;
    const [ofInput, ofRecurrence] = split(write, this.part(3, [2 * rows]), [rows, rows], 0) as [Value, Value];
    if (kind === 'LSTM' || !resetAfter) return write.node('Add', [ofInput, ofRecurrence]);
    const [gates] = split(write, ofRecurrence, [2 * hidden, hidden], 0) as [Value];
    return write.node('Add', [
      ofInput,
      write.node('Concat', [gates, write.node('Expand', [write.float(0), write.ints([hidden])])], { axis: attributeOf.int(0) }),
    ]);
  }

  /** What the recurrence adds to the candidate of a GRU; made outside of the loop. */
  private candidateBias(): Value {
    const { hidden } = this.request.planned.layer;
    return split(this.write, this.part(3, [2 * this.rows]), [2 * this.rows - hidden, hidden], 0)[1] as Value;
  }
}

/** x W^T + b. */
function product(write: GraphWriter, x: Value, rows: Value, bias: Value): Value {
  return write.node('Gemm', [x, rows, bias], { transB: attributeOf.int(1) });
}

function split(write: GraphWriter, value: Value, sizes: readonly number[], axis = -1): Value[] {
  return write.nodes('Split', [value, write.ints(sizes)], { axis: attributeOf.int(axis) }, sizes.length);
}

/** Outputs of a loop are values of their own. */
function alias(write: GraphWriter, values: readonly Value[]): Value[] {
  return values.map((value) => write.node('Identity', [value]));
}
