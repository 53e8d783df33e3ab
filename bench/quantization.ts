/**
 * Quantization of real models against fp32 and, with --reference, against onnxruntime.quantization: fidelity, latency, cost, memory.
 * JSON lines on standard output, each with the processor; tables and verdicts on standard error, and in tables.md of the folder.
 *
 * npm run bench -- quantization [--only mlp,fcnn] [--sections fidelity,latency,cost,memory,minilm,data] [--recipe NAME|FILE]
 *   [--folder DIR] [--reference PYTHON] [--reference-folder DIR]
 *
 * Models and samples come from LATHE_DATA (default ../shared/data). PYTHON is the interpreter of a virtual environment with onnx,
 * onnxruntime and Pillow; what it made lies in --reference-folder and is used again. LATHE_MINILM names the transformer of the section
 * minilm, LATHE_REFERENCES artifacts of other tools to compare it with.
 */
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { costSection } from './quantization/cost.js';
import { fidelitySection } from './quantization/fidelity.js';
import { latencySection } from './quantization/latency.js';
import { memorySection } from './quantization/memory.js';
import { minilmSection } from './quantization/minilm.js';
import { runSections } from './quantization/run-sections.js';
import { testFile } from './quantization/sample-files.js';
import { subjects } from './quantization/subjects.js';
import { report } from './quantization/tables.js';
import type { Workbench } from './quantization/workbench.js';

/** Cost first: it makes the artifacts that the others read, in processes that are measured. */
const sections: Readonly<Record<string, (bench: Workbench) => Promise<void>>> = {
  cost: costSection,
  memory: memorySection,
  fidelity: fidelitySection,
  latency: latencySection,
  minilm: minilmSection,
  data: writeData,
};

/** The samples alone, for use with `lathe compress --data` and `--eval`. */
async function writeData(bench: Workbench): Promise<void> {
  for (const subject of bench.subjects) {
    const calibration = await bench.calibration(subject, subject.calibrationSamples);
    const test = await testFile(subject, join(bench.folder, 'samples'));
    bench.tell({ section: 'data', subject: subject.name, calibration, test });
  }
}

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    sections: { type: 'string', default: 'cost,memory,fidelity,latency,minilm' },
    recipe: { type: 'string', default: 'static-int8' },
    folder: { type: 'string' },
    reference: { type: 'string' },
    'reference-folder': { type: 'string' },
  },
});

await runSections({
  sections,
  wanted: options.sections,
  subjects,
  only: options.only,
  folder: options.folder,
  options: (folder) => ({
    recipe: options.recipe,
    ...(options.reference
      ? { reference: { python: options.reference, folder: resolve(options['reference-folder'] ?? join(folder, 'reference')) } }
      : {}),
  }),
  report,
  about: { recipe: options.recipe },
});
