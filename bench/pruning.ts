/**
 * Structured pruning of random graphs and of real models: exactness, what is promised and reached, latency, repair without labels, and
 * together with int8. JSON lines on standard output, each with the processor; tables and verdicts on standard error, and in tables.md
 * of the folder.
 *
 * npm run bench -- pruning [--only resnet8,fcnn] [--sections exactness,models,latency,repair,combination] [--folder DIR]
 *                          [--models resnet8,vad/models/silero_vad.onnx]
 *
 * Models and samples come from LATHE_DATA (default ../shared/data); LATHE_MINILM names the transformer of the section models, which takes
 * those that --models names, files without samples by their path.
 */
import { parseArgs } from 'node:util';
import { combinationSection } from './pruning/combination.js';
import { exactnessSection } from './pruning/exactness.js';
import { latencySection } from './pruning/latency.js';
import { modelsSection } from './pruning/models.js';
import { repairSection } from './pruning/repair.js';
import { report } from './pruning/tables.js';
import { runSections } from './quantization/run-sections.js';
import { resnet8, subjects } from './quantization/subjects.js';
import type { Workbench } from './quantization/workbench.js';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    models: { type: 'string' },
    sections: { type: 'string', default: 'exactness,models,latency,repair,combination' },
    folder: { type: 'string' },
  },
});

const sections: Readonly<Record<string, (bench: Workbench) => Promise<void>>> = {
  exactness: exactnessSection,
  models: (bench) => modelsSection(bench, options.models),
  latency: latencySection,
  repair: repairSection,
  combination: combinationSection,
};

await runSections({
  sections,
  wanted: options.sections,
  subjects: [...subjects, resnet8],
  only: options.only,
  folder: options.folder,
  options: () => ({ recipe: 'structured-pruning' }),
  report,
});
