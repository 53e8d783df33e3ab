/** `lathe train`: weights learned from samples; the same files out as of `lathe compress`, and the learning curve. */
import { Command, InvalidArgumentError } from 'commander';
import { presets } from '#contracts';
import { withCheckpoints } from './checkpoint-folder.js';
import { readRecipe } from './recipe.js';
import {
  type CompressionFiles,
  type CompressionRun,
  exitCodeHelp,
  printCompression,
  requireInputs,
  runCompression,
} from './run-compression.js';

interface TrainOptions extends CompressionFiles {
  readonly recipe?: string;
  readonly checkpoint?: string;
  readonly threads?: number;
  readonly json?: boolean;
}

export function trainCommand(): Command {
  return new Command('train')
    .description('train, fine-tune or distill a model on samples')
    .argument('<model>', 'ONNX file; its external data lies beside it')
    .option('--recipe <name|file>', 'preset (train, fine-tune, distill, prune-distill ...) or recipe as a .json file; default: train')
    .requiredOption('--data <file>', '.npz with arrays named as the inputs, and "labels" unless a teacher is followed')
    .option('--eval <file>', '.npz with samples that are not trained on, and "labels", to measure accuracy on; default: --data')
    .option('--teacher <file>', 'ONNX file of a trained model, for the method distill with "teacher": "given"')
    .requiredOption('--out <dir>', 'folder for model.onnx, report.json and report.html')
    .option('--checkpoint <dir>', 'folder to keep the state of the training in: the same call goes on there after it was killed')
    .option('--threads <count>', 'processor threads; default: physical cores', threadCount)
    .option('--json', 'print the report as one JSON document')
    .addHelpText('after', exitCodeHelp)
    .action(async (model: string, options: TrainOptions) => {
      const recipe = options.recipe === undefined ? presets.train : await readRecipe(options.recipe);
      const settings = options.threads === undefined ? {} : { threads: options.threads };
      const run: CompressionRun = { ...options, model, recipe: { ...recipe, steps: [...recipe.steps] }, settings };
      await requireInputs(run);
      const { checkpoint } = options;
      const result =
        checkpoint === undefined
          ? await runCompression(run)
          : await withCheckpoints(checkpoint, run, (checkpoints) => runCompression({ ...run, settings: { ...settings, checkpoints } }));
      printCompression(result, options.json);
    });
}

function threadCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > 1024) throw new InvalidArgumentError('A whole number from 1 to 1024 is expected.');
  return count;
}
