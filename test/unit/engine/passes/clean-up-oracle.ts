/** The oracle of the clean-up tests: onnxruntime, without its own optimizer, on the model before and after. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { cloneModel } from '../../../../services/engine/ir/clone-model.js';
import {
  byteCount,
  bytesInMemory,
  elementCount,
  float32Tensor,
  type Model,
  type Tensor,
  tensorOf,
  type Value,
} from '../../../../services/engine/ir/index.js';
import { graphsWithin } from '../../../../services/engine/ir/traversal.js';
import { verifyModel } from '../../../../services/engine/ir/verify-graph.js';
import type { NodeChange } from '../../../../services/engine/method.js';
import { cleanUp } from '../../../../services/engine/passes/index.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';

export const scratch = mkdtempSync(join(tmpdir(), 'lathe-passes-'));
export const runtime = createOrtRuntime({ scratch, threads: 1 });
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

export interface Cleaned {
  readonly before: Model;
  readonly after: Model;
  readonly changes: readonly NodeChange[];
}

/** A cleaned copy; `model` is left as it was. */
export async function cleaned(model: Model): Promise<Cleaned> {
  const after = cloneModel(model);
  const changes = await cleanUp(after, {
    target: 'x64',
    runtime,
    scratch,
    signal: new AbortController().signal,
    objective: 'latency' as const,
    progress: () => undefined,
  });
  verifyModel(after);
  return { before: model, after, changes };
}

/** Operators of all graphs, sorted. */
export function operators(model: Model): string[] {
  return [...graphsWithin(model.graph)].flatMap((graph) => graph.nodes.map((node) => node.opType)).sort();
}

/** Bytes of the stored constants of all graphs. */
export function storedBytes(model: Model): number {
  let bytes = 0;
  for (const graph of graphsWithin(model.graph)) for (const tensor of graph.initializers.values()) bytes += tensor.data.byteLength;
  return bytes;
}

/** Reproducible numbers in [-2, 2). */
export function numbers(count: number, seed = 1): Float32Array {
  let state = seed * 2_654_435_761;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state / 2 ** 32) * 4 - 2;
  });
}

export function randomTensor(dims: readonly number[], seed = 1): Tensor {
  return float32Tensor(dims, numbers(elementCount(dims), seed));
}

function feedFor(value: Value, sizes: Readonly<Record<string, number>>, seed: number): Tensor {
  if (value.type?.kind !== 'tensor' || !value.type.shape) throw new Error(`input ${value.name} has no shape`);
  const dataType = value.type.dataType ?? 'float32';
  const dims = value.type.shape.map((size) => (typeof size === 'number' ? size : (sizes[size ?? ''] ?? 2)));
  const count = elementCount(dims);
  if (dataType === 'float32') return randomTensor(dims, seed);
  if (dataType === 'float64') return tensorOf(dataType, dims, Float64Array.from(numbers(count, seed)));
  if (dataType === 'int64')
    return tensorOf(
      dataType,
      dims,
      BigInt64Array.from(numbers(count, seed), (value) => BigInt(Math.trunc(value))),
    );
  if (dataType === 'bool')
    return tensorOf(
      dataType,
      dims,
      Uint8Array.from(numbers(count, seed), (value) => Number(value > 0)),
    );
  return { dataType, dims, data: bytesInMemory(new Uint8Array(byteCount(dataType, count))) };
}

export async function outputsOf(
  model: Model,
  feeds: ReadonlyMap<string, Tensor>,
  optimization: 'disabled' | 'all' = 'disabled',
): Promise<Map<string, Tensor>> {
  const session = await runtime.open(model, { optimization });
  try {
    return await session.run(feeds);
  } finally {
    await session.close();
  }
}

function asNumbers(tensor: Tensor): number[] {
  const bytes = tensor.data.read().slice().buffer;
  if (tensor.dataType === 'float32') return [...new Float32Array(bytes)];
  if (tensor.dataType === 'float64') return [...new Float64Array(bytes)];
  if (tensor.dataType === 'int64') return Array.from(new BigInt64Array(bytes), Number);
  return [...new Uint8Array(bytes)];
}

/** The largest difference, over all outputs, relative to the largest magnitude of the output or 1. */
export function largestDifference(expected: ReadonlyMap<string, Tensor>, actual: ReadonlyMap<string, Tensor>): number {
  let worst = 0;
  for (const [name, tensor] of expected) {
    const other = actual.get(name);
    expect(other?.dims, `shape of ${name}`).toEqual(tensor.dims);
    expect(other?.dataType, `type of ${name}`).toBe(tensor.dataType);
    const left = asNumbers(tensor);
    const right = other ? asNumbers(other) : [];
    const scale = left.reduce((largest, value) => (Number.isFinite(value) ? Math.max(largest, Math.abs(value)) : largest), 1);
    left.forEach((value, at) => {
      if (Object.is(value, right[at]) || value === right[at]) return;
      worst = Math.max(
        worst,
        Number.isNaN(right[at] ?? Number.NaN) ? Number.POSITIVE_INFINITY : Math.abs(value - (right[at] ?? 0)) / scale,
      );
    });
  }
  return worst;
}

/** Same interface, and the same outputs on random inputs for each assignment of the symbolic sizes. */
export async function expectSameOutputs(
  { before, after }: Cleaned,
  sizes: readonly Readonly<Record<string, number>>[] = [{}],
  tolerance = 3e-6,
): Promise<void> {
  const face = (values: readonly Value[]) => values.map(({ name, type }) => ({ name, type }));
  expect(face(after.graph.inputs)).toEqual(face(before.graph.inputs));
  expect(face(after.graph.outputs)).toEqual(face(before.graph.outputs));
  for (const [index, assignment] of sizes.entries()) {
    const callerInputs = before.graph.inputs.filter((input) => !before.graph.initializers.has(input));
    const feeds = new Map(callerInputs.map((input, at) => [input.name, feedFor(input, assignment, 7 * index + at + 1)]));
    const expected = await outputsOf(before, feeds);
    expect(largestDifference(expected, await outputsOf(after, feeds))).toBeLessThanOrEqual(tolerance);
  }
}
