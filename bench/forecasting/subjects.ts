/** The two forecasters, with windows to choose ranges from and windows to report on. */
import { join } from 'node:path';
import { dataFolder } from '../quantization/subjects.js';
import type { Workbench } from '../quantization/workbench.js';
import { type SeriesFiles, seriesFiles } from '../training/series.js';
import { pjmFiles } from './pjm-series.js';

export interface Forecaster {
  readonly name: 'etth' | 'pjm';
  readonly modelPath: string;
  readonly files: SeriesFiles;
}

/** Every sixth test window, as the figures that are asked for. */
const TEST_STRIDE = 6;

export async function forecasters(bench: Workbench): Promise<readonly Forecaster[]> {
  const folder = join(bench.folder, 'samples');
  return [
    { name: 'etth', modelPath: join(dataFolder, 'etth/models/lstm_att.onnx'), files: await seriesFiles(folder) },
    { name: 'pjm', modelPath: join(dataFolder, 'energy/models/pjm_lstm_att.onnx'), files: await pjmFiles(folder, TEST_STRIDE) },
  ];
}
