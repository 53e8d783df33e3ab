/** Must show 3: the LSTM with attention on ETTh1, 96 hours to 24, from fresh weights. */
import { join } from 'node:path';
import { dataFolder } from '../quantization/subjects.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { learn } from './runs.js';
import { seriesFiles } from './series.js';
import { forecastError } from './thresholds.js';

export async function forecastingSection(bench: Workbench): Promise<void> {
  const files = await seriesFiles(join(bench.folder, 'samples'));
  const step = {
    method: 'train',
    initialize: 'fresh',
    epochs: 4,
    learning_rate: 1e-3,
    optimizer: { name: 'adamw', weight_decay: 1e-2 },
  } as const;
  const what = { section: 'forecasting', subject: 'lstm_att on ETTh1', epochs: step.epochs };
  const run = await attempt(bench, what, () =>
    learn(bench, {
      name: 'forecasting',
      modelPath: join(dataFolder, 'etth/models/lstm_att.onnx'),
      plan: { steps: [step], objective: 'size' },
      data: files.train,
      evaluation: files.test,
    }),
  );
  const mse = run?.report.artifact.metrics?.mse ?? null;
  if (run) {
    const [training] = run.report.training;
    bench.tell({
      ...what,
      mse,
      source_mse: run.report.source.metrics?.mse,
      steps_per_second: training?.steps_per_second,
      seconds: run.seconds,
    });
  }
  bench.judge('lstm_att from scratch', 'MSE of the test windows', { measured: mse, bound: forecastError });
}
