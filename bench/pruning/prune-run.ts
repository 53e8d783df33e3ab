/** One recipe on one model in this process, with what a section wants to know of it. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type CompressionPlan, type CompressionReport, type CompressionStep, compress } from '../../services/engine/index.js';
import type { Workbench } from '../quantization/workbench.js';

export type PruningStep = Extract<CompressionStep, { method: 'structured-pruning' }>;

export interface PruneTask {
  /** Of the folder of the artifact; unique in the benchmark. */
  readonly name: string;
  readonly modelPath: string;
  readonly plan: CompressionPlan;
  readonly calibration?: string;
  readonly evaluation?: string;
  readonly threads: number;
}

export interface PruneRun {
  readonly path: string;
  readonly report: CompressionReport;
  /** Wall seconds of the pruning alone, the repair among them. */
  readonly seconds: number;
}

export function pruning(options: Omit<PruningStep, 'method'>): PruningStep {
  return { method: 'structured-pruning', ...options };
}

/** Times of layers are kept in the folder of the benchmark, so that the variants of one model share them. */
export async function prune(bench: Workbench, { name, threads, ...task }: PruneTask): Promise<PruneRun> {
  const outDir = join(bench.folder, 'artifacts', name);
  const scratch = join(bench.folder, 'scratch', name);
  mkdirSync(scratch, { recursive: true });
  const { report, modelFiles } = await compress({
    ...task,
    outDir,
    scratch,
    threads,
    latencyCache: join(bench.folder, 'layer-times'),
  });
  return { path: modelFiles[0] ?? join(outDir, 'model.onnx'), report, seconds: report.seconds['structured-pruning'] ?? 0 };
}

/** Multiply-accumulates and parameters of the artifact as fractions of those of the source, both counted on the files. */
export function keptFractions({ source, artifact }: CompressionReport): { macs: number | null; parameters: number; bytes: number } {
  return {
    macs: source.macs && artifact.macs ? artifact.macs / source.macs : null,
    parameters: artifact.parameters / source.parameters,
    bytes: artifact.bytes / source.bytes,
  };
}
