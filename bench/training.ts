/**
 * Training: gradients of whole models and speed against PyTorch, and what is learned on Fashion-MNIST. JSON lines on standard output, each with the processor; tables and verdicts on
 * standard error, and in tables.md of the folder.
 *
 * npm run bench -- training [--sections gradients,speed,scratch,distillation,recovery,recovery-others,reconstruction,low-bit,forecasting,super-resolution] [--only magika/model.onnx,untrained/vit.onnx] [--folder DIR]
 * [--reference PYTHON]
 *
 * `--only` names files of the gradients, bits of the sections reconstruction and low-bit, runs of recovery (0.5/3: share kept, epochs).
 *
 * Models come from LATHE_DATA (default ../shared/data). PYTHON is the interpreter of a virtual environment with torch, onnx and numpy:
 * it only checks, nothing of the product needs it.
 */
import { parseArgs } from 'node:util';
import { runSections } from './quantization/run-sections.js';
import { subjects } from './quantization/subjects.js';
import type { Workbench } from './quantization/workbench.js';
import { forecastingSection } from './training/forecasting.js';
import { gradientsSection } from './training/gradients.js';
import {
  distillationSection,
  lowBitSection,
  reconstructionSection,
  recoveryOfOthersSection,
  recoverySection,
  scratchSection,
} from './training/learning.js';
import { speedSection } from './training/speed.js';
import { superResolutionSection } from './training/super-resolution.js';
import { report } from './training/tables.js';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    sections: {
      type: 'string',
      default: 'gradients,speed,scratch,distillation,recovery,recovery-others,reconstruction,low-bit,forecasting,super-resolution',
    },
    folder: { type: 'string' },
    reference: { type: 'string' },
  },
});

const sections: Readonly<Record<string, (bench: Workbench) => Promise<void>>> = {
  gradients: (bench) => gradientsSection(bench, { python: options.reference, only: options.only }),
  speed: (bench) => speedSection(bench, options.reference),
  scratch: scratchSection,
  distillation: distillationSection,
  recovery: (bench) => recoverySection(bench, options.only),
  'recovery-others': recoveryOfOthersSection,
  reconstruction: (bench) => reconstructionSection(bench, options.only),
  'low-bit': (bench) => lowBitSection(bench, options.only),
  forecasting: forecastingSection,
  'super-resolution': superResolutionSection,
};

await runSections({
  sections,
  wanted: options.sections,
  subjects,
  only: undefined,
  folder: options.folder,
  options: () => ({ recipe: 'train' }),
  report,
});
