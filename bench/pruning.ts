/**
 * Structured pruning of random graphs and of real models: exactness, what is promised and reached, latency, repair without labels, and
 * together with int8. JSON lines on standard output, each with the processor; tables and verdicts on standard error, and in tables.md
 * of the folder.
 *
 * npm run bench -- pruning [--only resnet8,fcnn] [--sections exactness,models,latency,repair,combination] [--folder DIR]
 *
 * Models and samples come from LATHE_DATA (default ../shared/data); LATHE_MINILM names the transformer of the section models.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { combinationSection } from './pruning/combination.js';
import { exactnessSection } from './pruning/exactness.js';
import { latencySection } from './pruning/latency.js';
import { modelsSection } from './pruning/models.js';
import { repairSection } from './pruning/repair.js';
import { report } from './pruning/tables.js';
import { chosen } from './quantization/chosen.js';
import { resnet8, subjects } from './quantization/subjects.js';
import { Workbench } from './quantization/workbench.js';

const sections: Readonly<Record<string, (bench: Workbench) => Promise<void>>> = {
  exactness: exactnessSection,
  models: modelsSection,
  latency: latencySection,
  repair: repairSection,
  combination: combinationSection,
};

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    sections: { type: 'string', default: Object.keys(sections).join() },
    folder: { type: 'string' },
  },
});

const present = [...subjects, resnet8].filter(({ modelPath }) => existsSync(modelPath));
const folder = options.folder ? resolve(options.folder) : mkdtempSync(join(tmpdir(), 'lathe-bench-'));
try {
  const bench = new Workbench({
    subjects: chosen('model', options.only, new Map(present.map((subject) => [subject.name as string, subject]))),
    recipe: 'structured-pruning',
    folder,
  });
  const wanted = new Set(chosen('section', options.sections, new Map(Object.entries(sections))));
  for (const section of Object.values(sections)) if (wanted.has(section)) await section(bench);
  bench.tell({ verdicts: bench.verdicts, environment: bench.environment });
  const tables = report(bench.lines, bench.verdicts);
  writeFileSync(join(folder, 'tables.md'), `${tables}\n`);
  writeFileSync(join(folder, 'results.json'), `${JSON.stringify(bench.lines, null, 1)}\n`);
  process.stderr.write(`\n${tables}\n`);
} finally {
  rmSync(join(folder, 'scratch'), { recursive: true, force: true });
  if (!options.folder) rmSync(folder, { recursive: true, force: true });
}
