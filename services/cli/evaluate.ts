/** `lathe evaluate`: task metrics of a model on labelled samples, and its fidelity to a reference. */
import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { EvaluateResult, FidelityResult, ImageOptions, Metrics } from '#engine';
import { UsageError } from './exit-codes.js';
import { interruptible } from './interruption.js';
import { printResult } from './print-result.js';
import { progressBar } from './progress-bar.js';
import { requireFiles } from './required-files.js';
import { withScratch } from './scratch-folder.js';
import { formatLikeness, formatShare, significant, textTable } from './text-table.js';

interface EvaluateOptions {
  readonly data: string;
  readonly reference?: string;
  readonly emulate?: 'avx2';
  readonly image?: boolean;
  readonly border?: number;
  readonly luma?: boolean;
  readonly peak?: number;
  readonly json?: boolean;
}

export function evaluateCommand(): Command {
  return new Command('evaluate')
    .description('measure a model on samples, alone or against a reference')
    .argument('<model>', 'ONNX file')
    .requiredOption('--data <file>', '.npz with arrays named as the inputs, and "labels" for metrics')
    .option('--reference <model>', 'ONNX file with the same inputs and outputs to compare with')
    .addOption(
      new Option('--emulate <processor>', 'answer as this processor would: avx2 is x64 without VNNI, whose int8 kernel saturates').choices([
        'avx2',
      ]),
    )
    .option('--image', 'labels are pictures: PSNR and SSIM, too')
    .option('--border <pixels>', 'with --image: pixels on each side that are left out', wholeNumber)
    .option('--luma', 'with --image: compare the luma of pictures in R, G, B')
    .option('--peak <value>', 'with --image: the value of white, default 1', positiveNumber)
    .option('--json', 'print one JSON document')
    .action(async (model: string, options: EvaluateOptions) => printResult(await run(model, options), options, evaluationSummary));
}

async function run(model: string, options: EvaluateOptions): Promise<EvaluateResult> {
  await requireFiles(model, options.data, options.reference);
  const { evaluate } = await import('#engine');
  const bar = progressBar();
  try {
    return await interruptible((signal) =>
      withScratch((scratch) =>
        evaluate({
          modelPath: resolve(model),
          dataPath: resolve(options.data),
          ...(options.reference === undefined ? {} : { referencePath: resolve(options.reference) }),
          ...imageOptions(options),
          ...(options.emulate === undefined ? {} : { emulate: options.emulate }),
          scratch,
          signal,
          onProgress: (fraction) => bar.update(fraction, 'running the samples'),
        }),
      ),
    );
  } finally {
    bar.end();
  }
}

function imageOptions({ image, border, luma, peak }: EvaluateOptions): { readonly image?: ImageOptions } {
  const chosen = { ...(border === undefined ? {} : { border }), ...(luma ? { luma } : {}), ...(peak === undefined ? {} : { peak }) };
  if (image) return { image: chosen };
  if (Object.keys(chosen).length > 0) throw new UsageError('--border, --luma and --peak say how pictures are compared: add --image.');
  return {};
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('It is a whole number of pixels.');
  return Number(text);
}

function positiveNumber(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < Number.POSITIVE_INFINITY)) throw new InvalidArgumentError('It is a number above 0.');
  return value;
}

function evaluationSummary({ metrics, reference, samples, emulated }: EvaluateResult): string {
  const rows = [['samples', String(samples), ''], ...metricRows(metrics, reference?.metrics ?? null)];
  const table = textTable(reference === null ? rows : [['', 'model', 'reference'], ...rows]);
  const notes = metrics === null ? ['The data set has no array "labels": no metrics.'] : [];
  if (emulated !== null) notes.push('The model was run as on x64 with AVX2 and without VNNI.');
  return [table, ...horizonLines(metrics), ...(reference === null ? [] : fidelityLines(reference.fidelity)), ...notes].join('\n');
}

function metricRows(metrics: Metrics | null, reference: Metrics | null): string[][] {
  const shown = {
    ...{ top1: formatShare, top5: formatShare, mse: significant, mae: significant },
    psnr: (value: number) => formatLikeness('psnr', value),
    ssim: (value: number) => formatLikeness('ssim', value),
    ...{ mape: formatShare, smape: formatShare, mase: significant },
  } as const;
  const names = ['top1', 'top5', 'mse', 'mae', 'psnr', 'ssim', 'mape', 'smape', 'mase'] as const;
  return names.flatMap((name) => {
    const [own, other] = [metrics?.[name], reference?.[name]];
    return own === undefined ? [] : [[name, shown[name](own), other === undefined ? '' : shown[name](other)]];
  });
}

/** Forecasts over windows, by how far ahead they look: the nearest step, the farthest, and some between. */
function horizonLines(metrics: Metrics | null): string[] {
  const horizons = metrics?.horizons ?? [];
  if (horizons.length === 0) return [];
  const figure = (value: number | undefined, format: (value: number) => string): string => (value === undefined ? '-' : format(value));
  const places = [...new Set([0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * (horizons.length - 1))))];
  const rows = places.map((at) => {
    const { mse = 0, mae = 0, mape, mase } = horizons[at] ?? {};
    return [String(at + 1), significant(mse), significant(mae), figure(mape, formatShare), figure(mase, significant)];
  });
  return ['', textTable([['step ahead', 'mse', 'mae', 'mape', 'mase'], ...rows])];
}

function fidelityLines({ sqnr_db, cosine, max_abs_error, top1_agreement }: FidelityResult): string[] {
  const figure = (value: number | null): string => (value === null ? '-' : significant(value));
  return [
    `fidelity to the reference: SQNR ${figure(sqnr_db)} dB, cosine ${cosine === null ? '-' : cosine.toFixed(6)}, ` +
      `largest error ${figure(max_abs_error)}, same top-1 in ${formatShare(top1_agreement)}`,
  ];
}
