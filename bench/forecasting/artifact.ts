/** Must show 6: lstm_att in 8 bits, as the method emits it where it measures: bytes, error, time against the float model. */
import { join } from 'node:path';
import { benchmark } from '../../services/engine/index.js';
import { attempt, THREADS, type Workbench } from '../quantization/workbench.js';
import { learn } from '../training/runs.js';
import { forecasters } from './subjects.js';
import { artifactBytes, artifactError, artifactTime } from './thresholds.js';

const BUDGET_MS = 6000;

export async function artifactSection(bench: Workbench): Promise<void> {
  const [subject] = await forecasters(bench);
  if (!subject) return;
  const { modelPath, files } = subject;
  for (const integer_kernels of ['measure', 'never'] as const) {
    const what = { section: 'artifact', subject: 'lstm_att', form: integer_kernels === 'measure' ? 'as measured' : 'loop over codes' };
    const run = await attempt(bench, what, async () => {
      const plan = { steps: [{ method: 'distribution-aware', bits: 8, integer_kernels } as const] };
      const made = await learn(bench, {
        name: join('artifact', integer_kernels),
        modelPath,
        plan,
        data: files.train,
        evaluation: files.test,
      });
      const scratch = join(bench.folder, 'scratch');
      const paths = { modelPaths: [modelPath, made.path], dataPath: files.test };
      const { models } = await benchmark({ ...paths, scratch, threads: THREADS, budgetMs: BUDGET_MS });
      const [before = Number.NaN, after = Number.NaN] = models.map(({ min_ms }) => min_ms);
      const { artifact, source } = made.report;
      const error = Math.abs((artifact.metrics?.mse ?? Number.NaN) - (source.metrics?.mse ?? Number.NaN));
      return { bytes: artifact.bytes, mse: artifact.metrics?.mse ?? null, error, before_ms: before, after_ms: after, time: after / before };
    });
    if (run) bench.tell({ ...what, ...run });
    if (integer_kernels === 'never') continue;
    bench.judge('lstm_att in 8 bits', 'bytes', { measured: run?.bytes ?? null, bound: artifactBytes });
    bench.judge('lstm_att in 8 bits', 'MSE away from float', { measured: run?.error ?? null, bound: artifactError });
    bench.judge('lstm_att in 8 bits', 'time of the float model', { measured: run?.time ?? null, bound: artifactTime });
  }
}
