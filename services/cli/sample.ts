/** `lathe sample`: a small model and labelled samples to try everything with, made on the spot. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { printResult } from './print-result.js';
import { npzFile } from './sample/npz-file.js';
import { drawSamples, sampleTask } from './sample/sample-task.js';

const SAMPLES = 1000;

export interface SampleFiles {
  readonly model: string;
  readonly data: string;
}

export function sampleCommand(): Command {
  return new Command('sample')
    .description('write a small sample model and labelled samples to try the other commands with')
    .requiredOption('--out <dir>', 'folder for model.onnx and data.npz')
    .option('--json', 'print one JSON document')
    .action(async (options: { out: string; json?: boolean }) => {
      const files = await writeSample(options.out);
      printResult(files, options, ({ model, data }) => `${model}\n${data}`);
    });
}

/** Writes `model.onnx` and `data.npz` (arrays `features` and `labels`, unseen by the model) into `folder`. */
export async function writeSample(folder: string): Promise<SampleFiles> {
  // On demand, because it needs the engine, and the engine the native runtime, which not every command does.
  const { sampleModel } = await import('./sample/sample-model.js');
  const samples = drawSamples(SAMPLES, sampleTask.seed + 4);
  const files = { model: join(folder, 'model.onnx'), data: join(folder, 'data.npz') };
  await mkdir(folder, { recursive: true });
  await writeFile(files.model, sampleModel());
  await writeFile(
    files.data,
    npzFile([
      { name: 'features', shape: [samples.count, sampleTask.features], values: samples.features },
      { name: 'labels', shape: [samples.count], values: samples.labels },
    ]),
  );
  return files;
}
