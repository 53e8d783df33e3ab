/** LSTM written out step by step, forward and backward: what a short sequence is fastest with. */
import { attributeOf, float32Tensor, type GraphWriter, type Value } from '../../ir/index.js';
import { type Direction, type DirectionGradients, stackOfSteps, stepsOf, weightGradients } from '../recurrence.js';

const GATES = 4;
const alongColumns = { axis: attributeOf.int(1) };

/**
 * The runtime's own kernel keeps no gates, so that they would have to be computed again, and arrays over all steps would have to be
 * cut into steps: a node on [B, H] takes a microsecond, cutting its input out as long again. Here the forward steps take the place
 * of the kernel, and the backward ones read what they left (formulas: see lstm.ts). Forward, a step has a product for each activation,
 * which the runtime applies within it; backward it has one, and there is one for (dW, dR, db).
 */
export function unrolledLstm(direction: Direction): DirectionGradients {
  const { write, steps, batch, hidden, r, dLast, dLastCell, backwards } = direction;
  const order = Array.from({ length: steps }, (_, at) => (backwards ? steps - 1 - at : at));
  const forward = forwardSteps(direction, order);
  const dys = stepsOf(write, direction.dy, direction, hidden);
  const dGates: Value[] = [];
  let [dh, dc] = [dLast, dLastCell];
  for (const at of [...order].reverse()) {
    const slopes = slopesOf(write, forward[at] as CellStep);
    dh = write.node('Add', [dys[at] as Value, dh]);
    dc = write.node('Add', [product(write, dh, slopes.cell), dc]);
    const all = [product(write, dc, slopes.i), product(write, dh, slopes.o), product(write, dc, slopes.f), product(write, dc, slopes.g)];
    const gates = write.node('Concat', all, alongColumns);
    dGates[at] = gates;
    dh = write.node('MatMul', [gates, r]);
    dc = product(write, dc, (forward[at] as CellStep).f);
  }
  const stacked = stackOfSteps(write, dGates);
  const joined = stackOfSteps(
    write,
    forward.map((each) => each.joined),
  );
  const { dw, dr, db } = weightGradients(write, { joined, dGates: stacked }, direction);
  const last = forward[order.at(-1) ?? 0] as CellStep;
  const y = stackOfSteps(
    write,
    forward.map(({ h }) => h),
  );
  return {
    ...{ dInput: stacked, dw, dr, dwb: db, drb: db, dFirst: dh, dFirstCell: dc },
    forward: { y: write.node('Reshape', [y, write.ints([steps, batch, hidden])]), last: last.h, lastCell: last.cell },
  };
}

/** One step forward, all of [B, H] but `joined`: (x_t, h_{t-1}, 1), [B, I + H + 1]. */
interface CellStep {
  readonly joined: Value;
  readonly i: Value;
  readonly o: Value;
  readonly f: Value;
  readonly g: Value;
  /** i g and f c_{t-1}: what enters the cell, and what it keeps. */
  readonly entering: Value;
  readonly kept: Value;
  readonly cell: Value;
  /** tanh c_t. */
  readonly tanh: Value;
  readonly h: Value;
}

/** By place in the sequence. */
function forwardSteps(direction: Direction, order: readonly number[]): CellStep[] {
  const { write, inputs, hidden, batch, w, r, wb, rb, first, firstCell } = direction;
  const bias = write.node('Reshape', [write.node('Add', [wb, rb]), write.ints([GATES * hidden, 1])]);
  const weights = write.node('Transpose', [write.node('Concat', [w, r, bias], alongColumns)], { perm: attributeOf.ints([1, 0]) });
  const [opening, entering] = write.nodes('Split', [weights, write.ints([3 * hidden, hidden])], alongColumns, 2) as [Value, Value];
  const ones = write.constant(float32Tensor([batch, 1], new Float32Array(batch).fill(1)));
  const xs = stepsOf(write, direction.x, direction, inputs);
  const found: CellStep[] = [];
  let [h, cell] = [first, firstCell];
  for (const at of order) {
    const joined = write.node('Concat', [xs[at] as Value, h, ones], alongColumns);
    const activated = (part: Value, activation: string): Value =>
      write.microsoft('FusedGemm', [joined, part], { activation: attributeOf.string(activation) });
    const made = cellStep(write, { opened: activated(opening, 'Sigmoid'), g: activated(entering, 'Tanh'), cell, hidden });
    found[at] = { joined, ...made };
    ({ h, cell } = made);
  }
  return found;
}

interface CellInputs {
  /** (i, o, f), [B, 3 H]. */
  readonly opened: Value;
  readonly g: Value;
  readonly cell: Value;
  readonly hidden: number;
}

function cellStep(write: GraphWriter, { opened, g, cell, hidden }: CellInputs): Omit<CellStep, 'joined'> {
  const [i, o, f] = write.nodes('Split', [opened, write.ints([hidden, hidden, hidden])], alongColumns, 3) as [Value, Value, Value];
  const entering = product(write, i, g);
  const kept = product(write, f, cell);
  const next = write.node('Add', [kept, entering]);
  const tanh = write.node('Tanh', [next]);
  return { i, o, f, g, entering, kept, cell: next, tanh, h: product(write, o, tanh) };
}

/** See gateSlopes in lstm.ts. */
function slopesOf(write: GraphWriter, { i, o, f, g, entering, kept, tanh, h }: CellStep) {
  const less = (value: Value, left: Value, right: Value): Value => write.node('Sub', [value, product(write, left, right)]);
  return {
    ...{ i: less(entering, entering, i), o: less(h, h, o), f: less(kept, kept, f), g: less(i, entering, g) },
    cell: less(o, tanh, h),
  };
}

const product = (write: GraphWriter, left: Value, right: Value): Value => write.node('Mul', [left, right]);
