/**
 * Recurrent and attention forecasters: all tensors in few bits, the 8-bit artifact, and a recipe from training to 4 bits. JSON lines on
 * standard output, each with the processor; tables and verdicts on standard error, and in tables.md of the folder.
 *
 * npm run bench -- forecasting [--sections fewbits,trained,artifact,recipe] [--only etth,pjm] [--folder DIR]
 *
 * `--only` is for the rows of fewbits and trained.
 *
 * Models and series come from LATHE_DATA (default ../shared/data). Ranges are chosen on training windows; test windows only report.
 */
import { parseArgs } from 'node:util';
import { artifactSection } from './forecasting/artifact.js';
import { fewBitsSection, trainedSection } from './forecasting/few-bits.js';
import { recipeSection } from './forecasting/recipe.js';
import { report } from './forecasting/tables.js';
import { runSections } from './quantization/run-sections.js';

const { values: options } = parseArgs({
  options: {
    sections: { type: 'string', default: 'fewbits,trained,artifact,recipe' },
    only: { type: 'string' },
    folder: { type: 'string' },
  },
});

await runSections({
  sections: {
    fewbits: (bench) => fewBitsSection(bench, options.only),
    trained: (bench) => trainedSection(bench, options.only),
    artifact: artifactSection,
    recipe: recipeSection,
  },
  wanted: options.sections,
  subjects: [],
  only: undefined,
  folder: options.folder,
  options: () => ({ recipe: 'distribution-aware' }),
  report,
});
