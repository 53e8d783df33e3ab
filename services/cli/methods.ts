/** `lathe methods`: what a recipe can contain, and the presets. */

import { Command } from 'commander';
import { methods, presets } from '#contracts';
import { printResult } from './print-result.js';

export function methodsCommand(): Command {
  return new Command('methods')
    .description('list the compression methods and the presets')
    .option('--json', 'print one JSON document, with the JSON Schema of every method')
    .action((options: { json?: boolean }) => {
      printResult({ methods, presets }, options, () => {
        const lines = Object.entries(methods).map(([name, { description }]) => `${name}\n  ${description}`);
        return [...lines, `\nPresets: ${Object.keys(presets).join(', ')}`].join('\n');
      });
    });
}
