/** Must show 3: forecasters of ETTh1, 96 hours to 24, from fresh weights: the LSTM with attention, and one of our own. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { CompressionStep } from '../../services/engine/index.js';
import { encodeModelFile } from '../../services/engine/onnx/index.js';
import { dataFolder } from '../quantization/subjects.js';
import type { Bound } from '../quantization/thresholds.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { forecaster } from './forecaster.js';
import { learn } from './runs.js';
import { type SeriesFiles, seriesFiles } from './series.js';
import { forecastError, ownForecastError } from './thresholds.js';

type TrainStep = Extract<CompressionStep, { method: 'train' }>;

interface Forecasting {
  readonly subject: string;
  readonly modelPath: string;
  /** Trained all; the test windows see the one with the least error of the validation windows. */
  readonly recipes: readonly TrainStep[];
  readonly bound: Bound;
}

const fresh = { method: 'train', initialize: 'fresh', batch_size: 64 } as const;
const decay = (weight_decay: number) => ({ name: 'adamw', weight_decay }) as const;

export async function forecastingSection(bench: Workbench): Promise<void> {
  const folder = join(bench.folder, 'samples');
  const files = await seriesFiles(folder);
  mkdirSync(folder, { recursive: true });
  const own = join(folder, 'forecaster.onnx');
  encodeModelFile(forecaster(128), own);
  const subjects: Forecasting[] = [
    {
      subject: 'own forecaster',
      modelPath: own,
      recipes: [
        { ...fresh, epochs: 10, learning_rate: 1e-3, optimizer: decay(0.01), losses: [{ kind: 'mse' }] },
        { ...fresh, epochs: 10, learning_rate: 5e-4, optimizer: decay(0.1), losses: [{ kind: 'mae' }] },
      ],
      bound: ownForecastError,
    },
    {
      subject: 'lstm_att',
      modelPath: join(dataFolder, 'etth/models/lstm_att.onnx'),
      recipes: [
        { ...fresh, epochs: 6, learning_rate: 2e-3, optimizer: decay(0.1), losses: [{ kind: 'mse' }] },
        { ...fresh, epochs: 6, learning_rate: 2e-3, optimizer: decay(0.1), losses: [{ kind: 'mae' }] },
        { ...fresh, epochs: 3, learning_rate: 2e-3, optimizer: decay(0.1), losses: [{ kind: 'mae' }] },
      ],
      bound: forecastError,
    },
  ];
  for (const subject of subjects) await forecast(bench, subject, files);
}

async function forecast(bench: Workbench, { subject, modelPath, recipes, bound }: Forecasting, files: SeriesFiles): Promise<void> {
  let best: { readonly validation: number; readonly step: TrainStep } | undefined;
  for (const [at, step] of recipes.entries()) {
    const loss = step.losses?.[0]?.kind;
    const what = { section: 'forecasting', subject, epochs: step.epochs, loss, windows: 'validation' };
    const name = `forecasting-${subject.replaceAll(' ', '-')}-${at}`;
    const plan = { steps: [step], objective: 'size' } as const;
    const run = await attempt(bench, what, () => learn(bench, { name, modelPath, plan, data: files.train, evaluation: files.validation }));
    const mse = run?.report.artifact.metrics?.mse;
    if (!run || mse === undefined) continue;
    bench.tell({ ...what, mse, steps_per_second: run.report.training[0]?.steps_per_second, seconds: run.seconds });
    if (!best || mse < best.validation) best = { validation: mse, step };
  }
  if (!best) return;
  const { step } = best;
  const what = { section: 'forecasting', subject, epochs: step.epochs, loss: step.losses?.[0]?.kind, windows: 'test' };
  const task = { name: `forecasting-${subject.replaceAll(' ', '-')}-test`, modelPath, data: files.train, evaluation: files.test };
  const run = await attempt(bench, what, () => learn(bench, { ...task, plan: { steps: [step], objective: 'size' } }));
  const mse = run?.report.artifact.metrics?.mse ?? null;
  if (run) bench.tell({ ...what, mse, source_mse: run.report.source.metrics?.mse, seconds: run.seconds });
  bench.judge(`${subject} from scratch`, 'MSE of the test windows', { measured: mse, bound });
}
