/** Losses as models, and the arithmetic of their formulas in float64. */
import { expect } from 'vitest';
import { float32Values, GraphWriter, NameAuthority, type Tensor, type Value } from '../../../../services/engine/ir/index.js';
import { checkGradients } from '../../../support/gradient-check.js';
import { ModelBuilder, outputsOf } from '../quantization/method-fixtures.js';

export type Matrix = number[][];

/** One row per index of the first axis. */
export const rowsOf = (tensor: Tensor): Matrix => {
  const width = tensor.dims.slice(1).reduce((product, size) => product * size, 1);
  const values = [...float32Values(tensor)];
  return Array.from({ length: tensor.dims[0] ?? 1 }, (_, row) => values.slice(row * width, (row + 1) * width));
};
export const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
export const average = (values: readonly number[]): number => sum(values) / values.length;
export const flat = (matrix: Matrix): number[] => matrix.flat();
export const pairs = (s: Matrix, t: Matrix): [number, number][] => flat(s).map((value, at) => [value, flat(t)[at] ?? 0]);
export const scaled = (row: readonly number[], by: number): number[] => row.map((value) => value * by);
export const dot = (a: readonly number[], b: readonly number[]): number => sum(a.map((value, at) => value * (b[at] ?? 0)));
export const norm = (row: readonly number[]): number => Math.sqrt(dot(row, row) + 1e-8);
export const softmax = (row: readonly number[]): number[] => {
  const exponentials = row.map((value) => Math.exp(value - Math.max(...row)));
  return exponentials.map((value) => value / sum(exponentials));
};
export const kl = (p: readonly number[], q: readonly number[]): number => sum(p.map((value, at) => value * Math.log(value / (q[at] ?? 0))));
export const huberOf = (error: number): number => (Math.abs(error) <= 1 ? error ** 2 / 2 : Math.abs(error) - 0.5);

type WriteLoss = (write: GraphWriter, student: Value, teacher: Value, target: Value) => Value;

/** A model of one loss: inputs in the order of `feeds`, at most three. */
export function lossModel(write: WriteLoss, feeds: Readonly<Record<string, Tensor>>) {
  const builder = new ModelBuilder({ opset: 18 });
  const inputs = Object.entries(feeds).map(([name, tensor]) => builder.input(name, [...tensor.dims])) as [Value, Value, Value];
  const writer = new GraphWriter(builder.model, new NameAuthority(builder.model));
  return builder.output(write(writer, ...inputs), []).model;
}

/** The value of the loss is `expected`, and its gradient by the first input that of central differences. */
export async function checkLoss(model: ReturnType<typeof lossModel>, feeds: Readonly<Record<string, Tensor>>, expected: number) {
  const [loss] = await outputsOf(model, feeds);
  expect(loss?.[0]).toBeCloseTo(expected, 4);
  const [student = ''] = Object.keys(feeds);
  const [checked] = await checkGradients({ model, feeds, wrt: [student], step: 4e-3, elements: 20 });
  expect(checked?.largest).toBeGreaterThan(1e-3);
  expect(checked?.error).toBeLessThan(4e-3);
}
