/** `lathe benchmark`: latencies of models on this machine, measured in turns so that a slow spell falls on all of them. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { BenchmarkResult } from '#engine';
import { interruptible } from './interruption.js';
import { printResult } from './print-result.js';
import { progressBar } from './progress-bar.js';
import { requireFiles } from './required-files.js';
import { withScratch } from './scratch-folder.js';
import { formatMilliseconds, significant, textTable } from './text-table.js';

interface BenchmarkOptions {
  readonly data?: string;
  readonly json?: boolean;
}

export function benchmarkCommand(): Command {
  return new Command('benchmark')
    .description('measure the latency of one or several models, interleaved')
    .argument('<models...>', 'ONNX files')
    .option('--data <file>', '.npz or .npy whose first sample is fed; default: inputs made from the declared shapes')
    .option('--json', 'print one JSON document')
    .action(async (models: string[], options: BenchmarkOptions) => printResult(await run(models, options), options, benchmarkSummary));
}

async function run(models: readonly string[], options: BenchmarkOptions): Promise<BenchmarkResult> {
  await requireFiles(...models, options.data);
  const { benchmark } = await import('#engine');
  const bar = progressBar();
  try {
    const result = await interruptible((signal) =>
      withScratch((scratch) =>
        benchmark({
          modelPaths: models.map((model) => resolve(model)),
          ...(options.data === undefined ? {} : { dataPath: resolve(options.data) }),
          scratch,
          signal,
          onProgress: (fraction) => bar.update(fraction, 'running the models in turns'),
        }),
      ),
    );
    // Paths as the caller wrote them, so that a script finds its own arguments again.
    return { ...result, models: result.models.map((model, index) => ({ ...model, path: models[index] ?? model.path })) };
  } finally {
    bar.end();
  }
}

function benchmarkSummary({ models, environment }: BenchmarkResult): string {
  const first = models[0]?.median_ms ?? Number.NaN;
  const rows = models.map(({ path, median_ms, p90_ms, runs }, index) => [
    path,
    formatMilliseconds(median_ms),
    formatMilliseconds(p90_ms),
    String(runs),
    index === 0 ? '' : `${significant(first / median_ms)}x`,
  ]);
  const speed = models.length > 1 ? 'speed' : '';
  return [textTable([['model', 'median', 'p90', 'runs', speed], ...rows]), '', `${environment.cpu}, ${environment.threads} threads`].join(
    '\n',
  );
}
