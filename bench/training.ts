/**
 * Training: gradients of whole models against PyTorch. JSON lines on standard output, each with the processor; tables and verdicts on
 * standard error, and in tables.md of the folder.
 *
 * npm run bench -- training [--sections gradients] [--only magika/model.onnx,untrained/vit.onnx] [--folder DIR] --reference PYTHON
 *
 * Models come from LATHE_DATA (default ../shared/data). PYTHON is the interpreter of a virtual environment with torch, onnx and numpy:
 * it only checks, nothing of the product needs it.
 */
import { parseArgs } from 'node:util';
import { runSections } from './quantization/run-sections.js';
import type { Workbench } from './quantization/workbench.js';
import { gradientsSection } from './training/gradients.js';
import { report } from './training/tables.js';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    sections: { type: 'string', default: 'gradients' },
    folder: { type: 'string' },
    reference: { type: 'string' },
  },
});

const sections: Readonly<Record<string, (bench: Workbench) => Promise<void>>> = {
  gradients: (bench) => gradientsSection(bench, { python: options.reference, only: options.only }),
};

await runSections({
  sections,
  wanted: options.sections,
  subjects: [],
  only: undefined,
  folder: options.folder,
  options: () => ({ recipe: 'train' }),
  report,
});
