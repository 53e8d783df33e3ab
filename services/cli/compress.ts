/** `lathe compress`: one model, one recipe; model.onnx, report.json and report.html out, a table to read. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { CompressResult } from '#engine';
import { compressionSummary } from './compression-summary.js';
import { exitCodes } from './exit-codes.js';
import { interruptible } from './interruption.js';
import { printResult } from './print-result.js';
import { progressBar } from './progress-bar.js';
import { readRecipe } from './recipe.js';
import { requireFiles } from './required-files.js';
import { withScratch } from './scratch-folder.js';

interface CompressOptions {
  readonly recipe: string;
  readonly data?: string;
  readonly eval?: string;
  readonly calibrationCache?: string;
  readonly out: string;
  readonly json?: boolean;
}

export function compressCommand(): Command {
  return new Command('compress')
    .description('compress a model and measure the result against the source')
    .argument('<model>', 'ONNX file; its external data lies beside it')
    .requiredOption('--recipe <name|file>', 'preset (lathe methods lists them) or recipe as a .json file')
    .option('--data <file>', '.npz with unlabelled samples for methods that need them; arrays named as the inputs')
    .option('--eval <file>', '.npz with samples, and optional "labels", to measure fidelity and accuracy on')
    .option(
      '--calibration-cache <dir>',
      'folder to keep calibration results in, for the next run with the same model, data and recipe, and times of layers, for all runs',
    )
    .requiredOption('--out <dir>', 'folder for model.onnx, report.json and report.html')
    .option('--json', 'print the report as one JSON document')
    .addHelpText(
      'after',
      '\nExit code 0: done; 1: failed; 2: wrong call or recipe; 3: quality gate missed (the files are written all the same).',
    )
    .action(async (model: string, options: CompressOptions) => {
      const { report, modelFiles, reportPath, htmlReportPath, gatePassed } = await run(model, options);
      printResult(report, options, () =>
        [compressionSummary(report), '', ...[...modelFiles, reportPath, htmlReportPath].map((file) => `wrote ${file}`)].join('\n'),
      );
      if (!gatePassed) {
        process.stderr.write('lathe: the quality gate was missed\n');
        process.exitCode = exitCodes.gateMissed;
      }
    });
}

function cacheIn(folder: string | undefined): { calibrationCache?: string; latencyCache?: string } {
  return folder === undefined ? {} : { calibrationCache: resolve(folder), latencyCache: resolve(folder) };
}

async function run(model: string, options: CompressOptions): Promise<CompressResult> {
  const plan = await readRecipe(options.recipe);
  await requireFiles(model, options.data, options.eval);
  const { compress } = await import('#engine');
  const bar = progressBar();
  try {
    return await interruptible((signal) =>
      withScratch((scratch) =>
        compress({
          modelPath: resolve(model),
          plan,
          ...(options.data === undefined ? {} : { calibration: resolve(options.data) }),
          ...(options.eval === undefined ? {} : { evaluation: resolve(options.eval) }),
          ...cacheIn(options.calibrationCache),
          outDir: resolve(options.out),
          scratch,
          signal,
          onProgress: ({ fraction, message }) => bar.update(fraction, message),
        }),
      ),
    );
  } finally {
    bar.end();
  }
}
