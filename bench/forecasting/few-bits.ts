/** Must show 4 and 5: all weights and activations in few bits, ranges from training windows, reported on test windows. */
import { join } from 'node:path';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { learn } from '../training/runs.js';
import { type Forecaster, forecasters } from './subjects.js';
import { asked } from './thresholds.js';

/** One range per tensor from its extremes, one scale per weight, nothing corrected: ordinary quantization. */
const naive = { per_channel: false, ranges: 'extremes', correct_biases: false, refit_head: false } as const;

interface Row {
  readonly form: string;
  readonly options: object;
}

const rows: readonly Row[] = [
  ...([8, 5, 4, 3] as const).map((bits) => ({ form: `${bits} bit, ordinary`, options: { bits, ...naive } })),
  ...([8, 6, 5, 4, 3] as const).map((bits) => ({ form: `${bits} bit`, options: { bits } })),
  { form: '4 bit, cell 8', options: { bits: 4, tensor_bits: { cell: 8 } } },
  { form: '4 bit in the mean, by sensitivity', options: { bits: 4, allocation: 'sensitivity' } },
  { form: '4 bit, least error only', options: { bits: 4, ranges: 'least-error', correct_biases: false, refit_head: false } },
  ...(['kl', 'wasserstein', 'moments'] as const).map((distance) => ({ form: `4 bit, ${distance}`, options: { bits: 4, distance } })),
];

/** After the float model without labels, and against the labels of the training windows. */
const trained: readonly (Row & { readonly only: Forecaster['name'] })[] = [
  { form: '4 bit, trained', only: 'etth', options: { bits: 4, training: { epochs: 3, learning_rate: 1e-3 } } },
  { form: '4 bit, trained without labels', only: 'pjm', options: { bits: 4, training: { epochs: 4, learning_rate: 3e-3 } } },
  {
    form: '4 bit, trained',
    only: 'pjm',
    options: { bits: 4, training: { epochs: 2, learning_rate: 1.5e-3, losses: [{ kind: 'huber' }] } },
  },
];

/** `only`: names with commas between; default all. */
export async function trainedSection(bench: Workbench, only?: string): Promise<void> {
  for (const forecaster of await forecastersOf(bench, only))
    for (const row of trained) if (row.only === forecaster.name) await oneRow(bench, forecaster, row);
}

export async function fewBitsSection(bench: Workbench, only?: string): Promise<void> {
  for (const forecaster of await forecastersOf(bench, only)) for (const row of rows) await oneRow(bench, forecaster, row);
}

async function forecastersOf(bench: Workbench, only: string | undefined): Promise<readonly Forecaster[]> {
  return (await forecasters(bench)).filter(({ name }) => only === undefined || only.split(',').includes(name));
}

async function oneRow(bench: Workbench, { name, modelPath, files }: Forecaster, { form, options }: Row): Promise<void> {
  const what = { section: 'fewbits', subject: name, form };
  const step = { method: 'distribution-aware', integer_kernels: 'never', ...options } as const;
  const run = await attempt(bench, what, () =>
    learn(bench, {
      name: join('fewbits', `${name} ${form}`.replaceAll(/[ ,]+/g, '-')),
      modelPath,
      plan: { steps: [step], objective: 'size' },
      data: files.train,
      evaluation: files.test,
    }),
  );
  const figures = run?.report.artifact.metrics ?? null;
  if (run && figures) {
    const { mse, mae, mape, smape, mase } = figures;
    const widths = Object.fromEntries(run.report.layers.map(({ node, form: width }) => [node, Number.parseInt(width, 10)]));
    const before = run.report.source.metrics;
    bench.tell({
      ...what,
      ...{ mse, mae, mape, smape, mase, bytes: run.report.artifact.bytes, seconds: run.seconds, bits: widths },
      ...{ float_mse: before?.mse, float_mape: before?.mape, float_mase: before?.mase },
    });
  }
  for (const { figure, bound } of asked[`${name} ${form}`] ?? [])
    bench.judge(`${name} ${form}`, figure, { measured: figures?.[figure] ?? null, bound });
}
