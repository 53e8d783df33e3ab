/** `lathe inspect`: what a model consists of, how much it computes, what is already quantized. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { InspectResult } from '#engine';
import { printResult } from './print-result.js';
import { requireFiles } from './required-files.js';
import { withScratch } from './scratch-folder.js';
import { formatBytes, formatCount, textTable } from './text-table.js';

const OPERATORS_SHOWN = 12;

export function inspectCommand(): Command {
  return new Command('inspect')
    .description('describe a model: inputs, operators, parameters, multiply-accumulates, quantization')
    .argument('<model>', 'ONNX file')
    .option('--json', 'print one JSON document')
    .action(async (model: string, options: { json?: boolean }) => printResult(await run(model), options, inspectionSummary));
}

async function run(model: string): Promise<InspectResult> {
  await requireFiles(model);
  const { inspect } = await import('#engine');
  return withScratch((scratch) => inspect({ modelPath: resolve(model), scratch }));
}

type Interface = InspectResult['structure']['inputs'];

function inspectionSummary({ bytes, structure, macs, warnings }: InspectResult): string {
  const facts = [
    ['file', formatBytes(bytes)],
    ['parameters', formatCount(structure.parameters)],
    ['multiply-accumulates', macs === null ? '-' : formatCount(macs.total)],
    ['nodes', formatCount(structure.nodes)],
    [
      'opset',
      Object.entries(structure.opsets)
        .map(([domain, version]) => `${domain} ${version}`)
        .join(', '),
    ],
    ['quantized', structure.quantization.format],
  ];
  const operators = Object.entries(structure.operators);
  const shown = operators.slice(0, OPERATORS_SHOWN).map(([name, count]) => `${name} ${count}`);
  const rest = operators.length > OPERATORS_SHOWN ? [`and ${operators.length - OPERATORS_SHOWN} more`] : [];
  return [
    ...facts.map(([label = '', value = '']) => `${label.padEnd(20)}  ${value}`),
    '',
    textTable([...interfaceRows('input', structure.inputs), ...interfaceRows('output', structure.outputs)]),
    '',
    `operators: ${[...shown, ...rest].join(', ')}`,
    ...warnings.map((text) => `warning: ${text}`),
  ].join('\n');
}

function interfaceRows(role: string, values: Interface): string[][] {
  return values.map(({ name, kind, data_type, shape }) => [
    `${role} ${name}`,
    `${data_type ?? kind}[${shape?.map((size) => size ?? '?').join(', ') ?? '...'}]`,
  ]);
}
