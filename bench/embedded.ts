/**
 * Embedded accelerators: coding of maps, scaling between layers, widths of tensors, networks taught in few bits. JSON lines on standard output, each with the
 * processor; tables and verdicts on standard error, and in tables.md of the folder.
 *
 * npm run bench -- embedded [--sections codec,scaling,lowering,trained] [--only espcn_x3,fsrcnn_x3,pytorch_super_resolution] [--folder DIR]
 *                           [--profiles eyeriss-16,...] [--scaling with|without]
 *
 * Models and pictures come from LATHE_DATA (default ../shared/data).
 */
import { parseArgs } from 'node:util';
import { codecSection } from './embedded/codec.js';
import { type LoweringChoice, loweringSection } from './embedded/lowering.js';
import { scalingSection } from './embedded/scaling.js';
import { report } from './embedded/tables.js';
import { trainedSection } from './embedded/trained.js';
import { runSections } from './quantization/run-sections.js';
import type { Workbench } from './quantization/workbench.js';

const { values: options } = parseArgs({
  options: {
    sections: { type: 'string', default: 'codec,scaling,lowering,trained' },
    only: { type: 'string' },
    profiles: { type: 'string' },
    scaling: { type: 'string' },
    folder: { type: 'string' },
  },
});

const { only, profiles, scaling } = options;
const choice: LoweringChoice = { only, profiles, scaling: scaling === 'with' || scaling === 'without' ? scaling : undefined };

const sections: Readonly<Record<string, (bench: Workbench) => Promise<void>>> = {
  codec: codecSection,
  scaling: (bench) => scalingSection(bench, options.only),
  lowering: (bench) => loweringSection(bench, choice),
  trained: (bench) => trainedSection(bench, choice),
};

await runSections({
  sections,
  wanted: options.sections,
  subjects: [],
  only: undefined,
  folder: options.folder,
  options: () => ({ recipe: 'activation-compression' }),
  report,
});
