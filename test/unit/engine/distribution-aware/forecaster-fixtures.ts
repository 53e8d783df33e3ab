/** Small forecasters with LSTM or GRU and attention, and sine windows to run them on. */
import { attributeOf, float32Values, int64Tensor, type Model } from '../../../../services/engine/ir/index.js';
import { ModelBuilder, noise, transB } from '../quantization/method-fixtures.js';
import { sourceOf } from '../training/training-fixtures.js';

export const STEPS = 12;
export const FEATURES = 3;
export const HIDDEN = 8;

export interface LayerForm {
  readonly kind: 'LSTM' | 'GRU';
  readonly direction: 'forward' | 'reverse' | 'bidirectional';
  readonly resetAfter?: boolean;
  readonly states?: boolean;
  readonly bias?: boolean;
}

/** The layer alone: X [T, B, I] to Y, Y_h and, of an LSTM, Y_c. */
export function layerModel({ kind, direction, resetAfter = false, states = false, bias = true }: LayerForm): Model {
  const builder = new ModelBuilder();
  const directions = direction === 'bidirectional' ? 2 : 1;
  const rows = (kind === 'LSTM' ? 4 : 3) * HIDDEN;
  const x = builder.input('x', [STEPS, 'batch', FEATURES]);
  const state = (name: string) => (states ? builder.input(name, [directions, 'batch', HIDDEN]) : null);
  const inputs = [
    x,
    builder.constant('w', noise([directions, rows, FEATURES], 1, 0.8)),
    builder.constant('r', noise([directions, rows, HIDDEN], 2, 0.6)),
    bias ? builder.constant('b', noise([directions, 2 * rows], 3, 0.4)) : null,
    null,
    state('h0'),
    ...(kind === 'LSTM' ? [state('c0')] : []),
  ];
  const attributes = {
    hidden_size: attributeOf.int(HIDDEN),
    direction: attributeOf.string(direction),
    ...(kind === 'GRU' ? { linear_before_reset: attributeOf.int(resetAfter ? 1 : 0) } : {}),
  };
  builder.node(kind, inputs, attributes, kind === 'LSTM' ? 3 : 2);
  for (const output of builder.graph.nodes[0]?.outputs ?? []) if (output) builder.output(output);
  return builder.model;
}

/** LSTM, one attention head whose query is the last step, and a Gemm on both. */
export function forecaster(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', STEPS, FEATURES]);
  const timeFirst = builder.node('Transpose', [x], { perm: attributeOf.ints([1, 0, 2]) });
  const w = builder.constant('w', noise([1, 4 * HIDDEN, FEATURES], 1, 0.9));
  const r = builder.constant('r', noise([1, 4 * HIDDEN, HIDDEN], 2, 0.5));
  const b = builder.constant('b', noise([1, 8 * HIDDEN], 3, 0.3));
  const sequence = builder.node('LSTM', [timeFirst, w, r, b], { hidden_size: attributeOf.int(HIDDEN) });
  const ints = (name: string, ...values: number[]) => builder.constant(name, int64Tensor([values.length], values));
  const single = builder.node('Squeeze', [sequence, ints('axis', 1)]);
  const states = builder.node('Transpose', [single], { perm: attributeOf.ints([1, 0, 2]) });
  const last = builder.node('Slice', [states, ints('from', -1), ints('to', 2 ** 31), ints('along', 1)]);
  const projected = (from: typeof last, name: string, seed: number) =>
    builder.node('Add', [
      builder.node('MatMul', [from, builder.constant(`${name}.w`, noise([HIDDEN, HIDDEN], seed, 0.7))]),
      builder.constant(`${name}.b`, noise([HIDDEN], seed + 10, 0.2)),
    ]);
  const [q, k, v] = [projected(last, 'q', 4), projected(states, 'k', 5), projected(states, 'v', 6)];
  const scores = builder.node('MatMul', [q, builder.node('Transpose', [k], { perm: attributeOf.ints([0, 2, 1]) })]);
  const context = builder.node('MatMul', [builder.node('Softmax', [scores], { axis: attributeOf.int(-1) }), v]);
  const joined = builder.node('Flatten', [builder.node('Concat', [last, context], { axis: attributeOf.int(-1) })]);
  const head = builder.node(
    'Gemm',
    [joined, builder.constant('o.w', noise([4, 2 * HIDDEN], 7, 0.8)), builder.constant('o.b', noise([4], 8, 0.3))],
    transB,
  );
  return builder.output(head, ['n', 4]).model;
}

/** Windows over three waves with noise, one step apart. */
export function windows(count: number, start = 0) {
  const noises = float32Values(noise([count + STEPS, FEATURES], 40 + start, 0.2));
  const at = (row: number, feature: number): number =>
    Math.sin(((row + start) * (feature + 1)) / 5) + (noises[row * FEATURES + feature] ?? 0);
  const values = new Float32Array(count * STEPS * FEATURES);
  for (let window = 0, place = 0; window < count; window += 1)
    for (let step = 0; step < STEPS; step += 1)
      for (let feature = 0; feature < FEATURES; feature += 1, place += 1) values[place] = at(window + step, feature);
  return { values, source: sourceOf({ input: 'x', dims: [STEPS, FEATURES], values }) };
}
