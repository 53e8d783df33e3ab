/** `lathe compress` as a user starts it: a fresh process per artifact. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CompressionReport } from '../../services/engine/index.js';
import { type ProcessCost, runMeasured } from './measured-process.js';

const program = join(import.meta.dirname, '../../dist/services/cli/main.js');

export interface OurRun extends ProcessCost {
  readonly path: string;
  readonly report: CompressionReport;
}

export interface CompressionTask {
  readonly modelPath: string;
  /** Name of a preset, path of a recipe, or a recipe. */
  readonly recipe: string | object;
  readonly calibration: string;
  readonly outDir: string;
}

export class CompressionFailure extends Error {}

/** Throws CompressionFailure with what the program said. */
export async function compressAlone({ modelPath, recipe, calibration, outDir }: CompressionTask): Promise<OurRun> {
  mkdirSync(outDir, { recursive: true });
  const recipePath = typeof recipe === 'string' ? recipe : join(outDir, 'recipe.json');
  if (typeof recipe !== 'string') writeFileSync(recipePath, JSON.stringify(recipe));
  const args = ['compress', modelPath, '--recipe', recipePath, '--data', calibration, '--out', outDir];
  const { code, stderr, wall_s, cpu_s, peak_mb } = await runMeasured(process.execPath, [program, ...args]);
  const path = join(outDir, 'model.onnx');
  if (code !== 0 || !existsSync(path)) throw new CompressionFailure(stderr.trim().slice(-600) || `exit code ${code}`);
  const report = JSON.parse(readFileSync(join(outDir, 'report.json'), 'utf8')) as CompressionReport;
  return { path, report, wall_s, cpu_s, peak_mb };
}
