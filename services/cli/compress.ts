/** `lathe compress`: one model, one recipe; model.onnx, report.json and report.html out, a table to read. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import { readRecipe } from './recipe.js';
import { type CompressionFiles, exitCodeHelp, printCompression, requireInputs, runCompression } from './run-compression.js';

interface CompressOptions extends CompressionFiles {
  readonly recipe: string;
  readonly calibrationCache?: string;
  readonly json?: boolean;
}

export function compressCommand(): Command {
  return new Command('compress')
    .description('compress a model and measure the result against the source')
    .argument('<model>', 'ONNX file; its external data lies beside it')
    .requiredOption('--recipe <name|file>', 'preset (lathe methods lists them) or recipe as a .json file')
    .option('--data <file>', '.npz with unlabelled samples for methods that need them; arrays named as the inputs')
    .option('--eval <file>', '.npz with samples, and optional "labels", to measure fidelity and accuracy on')
    .option('--teacher <file>', 'ONNX file of a trained model, for the method distill with "teacher": "given"')
    .option(
      '--calibration-cache <dir>',
      'folder to keep calibration results in, for the next run with the same model, data and recipe, and times of layers, for all runs',
    )
    .requiredOption('--out <dir>', 'folder for model.onnx, report.json and report.html')
    .option('--json', 'print the report as one JSON document')
    .addHelpText('after', exitCodeHelp)
    .action(async (model: string, options: CompressOptions) => {
      const recipe = await readRecipe(options.recipe);
      const run = { ...options, model, recipe, settings: cacheIn(options.calibrationCache) };
      await requireInputs(run);
      printCompression(await runCompression(run), options.json);
    });
}

function cacheIn(folder: string | undefined): { calibrationCache?: string; latencyCache?: string } {
  return folder === undefined ? {} : { calibrationCache: resolve(folder), latencyCache: resolve(folder) };
}
