/** What the tests of the doctor share: samples, the runtime's view of a model, and outputs for comparison. */
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cloneModel, float32Values, type Model, type Tensor } from '../../../../../services/engine/ir/index.js';
import { verifyModel } from '../../../../../services/engine/ir/verify-graph.js';
import type { MethodContext, MethodOutcome } from '../../../../../services/engine/method.js';
import { repairSamples } from '../../../../../services/engine/pipeline/repair-samples.js';
import { type RuntimeView, viewOfRuntime } from '../../../../../services/engine/pipeline/runtime-view.js';
import { diagnoseModel } from '../../../../../services/engine/quantization/repair/diagnose-model.js';
import type { Finding, FindingKind } from '../../../../../services/engine/quantization/repair/finding.js';
import { repairQdq } from '../../../../../services/engine/quantization/repair/repair-qdq.js';
import { createOrtRuntime } from '../../../../../services/engine/runtime/ort-session.js';

const scratch = join(tmpdir(), `lathe-repair-${randomUUID()}`);
mkdirSync(scratch, { recursive: true });
export const runtime = createOrtRuntime({ scratch, threads: 1 });

export function removeScratch(): void {
  rmSync(scratch, { recursive: true, force: true });
}

export const blank: MethodContext = {
  target: 'x64',
  runtime,
  scratch,
  objective: 'latency',
  signal: new AbortController().signal,
  progress() {},
};

/** A context with samples for `model`. */
export async function context(model: Model): Promise<MethodContext> {
  return { ...blank, calibration: await repairSamples(model, blank) };
}

export function findings(model: Model, kind: FindingKind): Finding[] {
  return diagnoseModel(model).filter((finding) => finding.kind === kind);
}

/** Operators of the runtime's graph, and the nodes that it leaves in float. */
export async function seenByRuntime(model: Model): Promise<RuntimeView> {
  const view = await viewOfRuntime(runtime, model, scratch);
  if ('refusal' in view) throw new Error(view.refusal);
  return view;
}

export interface Repaired {
  readonly model: Model;
  readonly outcome: MethodOutcome;
  /** Largest difference of any output between the two models, without the runtime's optimizer. */
  readonly difference: number;
}

export async function repaired(source: Model, only?: readonly FindingKind[]): Promise<Repaired> {
  const model = cloneModel(source);
  const outcome = await repairQdq(model, only ? { only } : {}, await context(source));
  verifyModel(model);
  const [before, after] = [await outputs(source), await outputs(model)];
  return { model, outcome, difference: largestDifference(before, after) };
}

export async function outputs(
  model: Model,
  optimization: 'disabled' | 'all' = 'disabled',
  config: Record<string, string> = {},
): Promise<Tensor[]> {
  const samples = await repairSamples(model, blank);
  const session = await runtime.open(model, { optimization, config });
  const results: Tensor[] = [];
  try {
    for await (const { feeds } of samples.runs(1, 3)) results.push(...(await session.run(feeds)).values());
  } finally {
    await session.close();
  }
  return results;
}

export function largestDifference(a: readonly Tensor[], b: readonly Tensor[]): number {
  let largest = 0;
  for (const [at, tensor] of a.entries()) {
    const [left, right] = [tensor, b[at]].map((each) => (each?.dataType === 'float32' ? float32Values(each) : (each?.data.read() ?? [])));
    if (left?.length !== right?.length) return Number.POSITIVE_INFINITY;
    for (let index = 0; index < (left?.length ?? 0); index += 1)
      largest = Math.max(largest, Math.abs((left?.[index] ?? 0) - (right?.[index] ?? 0)));
  }
  return largest;
}
