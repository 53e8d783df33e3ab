/** One run of the engine for a command: files looked for, interruptible, with a progress bar. */
import { resolve } from 'node:path';
import { type CompressionRecipe, needsGivenTeacher } from '#contracts';
import type { CompressRequest, CompressResult } from '#engine';
import { compressionSummary } from './compression-summary.js';
import { exitCodes, UsageError } from './exit-codes.js';
import { interruptible } from './interruption.js';
import { printResult } from './print-result.js';
import { progressBar } from './progress-bar.js';
import { requireFiles } from './required-files.js';
import { withScratch } from './scratch-folder.js';

export interface CompressionFiles {
  readonly data?: string;
  readonly eval?: string;
  readonly teacher?: string;
  readonly out: string;
}

export interface CompressionRun extends CompressionFiles {
  readonly model: string;
  readonly recipe: CompressionRecipe;
  /** What only some commands have. */
  readonly settings?: Pick<CompressRequest, 'calibrationCache' | 'latencyCache' | 'checkpoints' | 'threads'>;
}

/** Throws UsageError when a file is missing, or when the recipe and the teacher do not belong together. */
export async function requireInputs({ model, recipe, data, eval: evaluation, teacher }: CompressionRun): Promise<void> {
  const isNeeded = recipe.steps.some(needsGivenTeacher);
  if (isNeeded && teacher === undefined) throw new UsageError('The recipe distils from a given teacher: name the model with --teacher.');
  if (!isNeeded && teacher !== undefined)
    throw new UsageError('No step of the recipe learns from --teacher: {"method": "distill", "teacher": "given"} does (--recipe distill).');
  await requireFiles(model, data, evaluation, teacher);
}

export async function runCompression(run: CompressionRun): Promise<CompressResult> {
  const { model, recipe, data, eval: evaluation, teacher, out, settings } = run;
  const { compress } = await import('#engine');
  const bar = progressBar();
  try {
    return await interruptible((signal) =>
      withScratch((scratch) =>
        compress({
          modelPath: resolve(model),
          plan: recipe,
          ...(data === undefined ? {} : { calibration: resolve(data) }),
          ...(evaluation === undefined ? {} : { evaluation: resolve(evaluation) }),
          ...(teacher === undefined ? {} : { teacherPath: resolve(teacher) }),
          ...settings,
          outDir: resolve(out),
          scratch,
          signal,
          onProgress: ({ fraction, message, eta_s }) => bar.update(fraction, message, eta_s),
        }),
      ),
    );
  } finally {
    bar.end();
  }
}

/** The report, the files that were written, and the exit code of a gate that was missed. */
export function printCompression({ report, modelFiles, reportPath, htmlReportPath, gatePassed }: CompressResult, json?: boolean): void {
  printResult(report, json === undefined ? {} : { json }, () =>
    [compressionSummary(report), '', ...[...modelFiles, reportPath, htmlReportPath].map((file) => `wrote ${file}`)].join('\n'),
  );
  if (gatePassed) return;
  process.stderr.write('lathe: the quality gate was missed\n');
  process.exitCode = exitCodes.gateMissed;
}

export const exitCodeHelp =
  '\nExit code 0: done; 1: failed; 2: wrong call or recipe; 3: quality gate missed (the files are written all the same).';
