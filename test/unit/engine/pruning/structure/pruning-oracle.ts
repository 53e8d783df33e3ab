/** The oracle of surgery: onnxruntime on the pruned model and on the masked original. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { cloneModel, float32Values, type Model, type Tensor, verifyModel } from '../../../../../services/engine/ir/index.js';
import { analyzeStructure } from '../../../../../services/engine/pruning/structure/analyze-structure.js';
import { maskUnits } from '../../../../../services/engine/pruning/structure/mask-units.js';
import type { PruningGroup, PruningUnit } from '../../../../../services/engine/pruning/structure/pruning-structure.js';
import { removeUnits, type Surgery } from '../../../../../services/engine/pruning/structure/remove-units.js';
import type { AnalyzedStructure } from '../../../../../services/engine/pruning/structure/structure-layout.js';
import { observeShapes } from '../../../../../services/engine/runtime/observe-shapes.js';
import { createOrtRuntime } from '../../../../../services/engine/runtime/ort-session.js';

const scratch = mkdtempSync(join(tmpdir(), 'lathe-pruning-'));
export const runtime = createOrtRuntime({ scratch, threads: 1 });
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

export type Feeds = ReadonlyMap<string, Tensor>;

export async function analyzed(model: Model, feeds: Feeds): Promise<AnalyzedStructure> {
  return analyzeStructure(model, (await observeShapes(runtime, { model, feeds })).shapes);
}

export async function outputsOf(model: Model, feeds: Feeds): Promise<Map<string, Tensor>> {
  const session = await runtime.open(model, { optimization: 'disabled', threads: 1 });
  try {
    return await session.run(feeds);
  } finally {
    await session.close();
  }
}

/** Largest difference, relative to the largest magnitude of its output; infinite for what is not a number on one side only. */
export function relativeDifference(expected: ReadonlyMap<string, Tensor>, actual: ReadonlyMap<string, Tensor>): number {
  let worst = 0;
  for (const [name, tensor] of expected) {
    const other = actual.get(name);
    expect(other?.dims, `shape of ${name}`).toEqual(tensor.dims);
    const [left, right] = [float32Values(tensor), other ? float32Values(other) : new Float32Array()];
    const scale = left.reduce((largest, value) => (Number.isFinite(value) ? Math.max(largest, Math.abs(value)) : largest), 1e-6);
    left.forEach((value, at) => {
      const difference = Object.is(value, right[at]) ? 0 : Math.abs(value - (right[at] ?? Number.NaN)) / scale;
      worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
    });
  }
  return worst;
}

/** About `share` of the units of each group, the same number of each part, at least one of each staying; `random` in [0, 1). */
export function chosenUnits(groups: readonly PruningGroup[], share: number, random: () => number): PruningUnit[] {
  return groups.flatMap(({ parts, units }) => {
    const size = Math.min(...parts.map((part) => part.length));
    const count = Math.min(size - 1, Math.max(1, Math.round(size * share)));
    return parts.flatMap((part) => {
      const drawn = part.map((unit) => ({ unit, key: random() })).sort((a, b) => a.key - b.key);
      return drawn.slice(0, count).flatMap(({ unit }) => units[unit] ?? []);
    });
  });
}

export interface Pruned extends Surgery {
  readonly model: Model;
  readonly outputs: ReadonlyMap<string, Tensor>;
}

/** A pruned copy that verifies and runs; `model` is left as it was. */
export async function prunedCopy(structure: AnalyzedStructure, units: readonly PruningUnit[], feeds: Feeds): Promise<Pruned> {
  const model = cloneModel(structure.model);
  const surgery = removeUnits(model, structure, units);
  verifyModel(model);
  return { model, outputs: await outputsOf(model, feeds), ...surgery };
}

export async function maskedOutputs(
  structure: AnalyzedStructure,
  units: readonly PruningUnit[],
  feeds: Feeds,
): Promise<Map<string, Tensor>> {
  const model = cloneModel(structure.model);
  maskUnits(model, structure, units);
  verifyModel(model);
  return outputsOf(model, feeds);
}

/** Removes `units` and sees the masked original in the result, within 1e-4. */
export async function expectExact(structure: AnalyzedStructure, units: readonly PruningUnit[], feeds: Feeds): Promise<Pruned> {
  const pruned = await prunedCopy(structure, units, feeds);
  expect(relativeDifference(await maskedOutputs(structure, units, feeds), pruned.outputs)).toBeLessThan(1e-4);
  return pruned;
}
