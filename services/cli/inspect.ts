/** `lathe inspect`: what a model consists of, how much it computes, what is already quantized, what it moves on an accelerator. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { InspectResult } from '#engine';
import { readAccelerator } from './accelerator.js';
import { UsageError } from './exit-codes.js';
import { printResult } from './print-result.js';
import { requireFiles } from './required-files.js';
import { withScratch } from './scratch-folder.js';
import { formatBytes, formatCount, textTable } from './text-table.js';
import { trafficSummary } from './traffic-summary.js';

const OPERATORS_SHOWN = 12;

interface InspectOptions {
  readonly target?: string;
  readonly data?: string;
  readonly plot?: string;
  readonly json?: boolean;
}

export function inspectCommand(): Command {
  return new Command('inspect')
    .description('describe a model: inputs, operators, parameters, multiply-accumulates, quantization')
    .argument('<model>', 'ONNX file')
    .option('--target <accelerator>', 'also count off-chip bytes and energy on this accelerator: a name or the path of a .json profile')
    .option('--data <file>', '.npz or .npy whose first sample sets the sizes; default: sizes that the model runs with')
    .option('--plot <file>', 'with --target: write the bytes of each layer as an SVG')
    .option('--json', 'print one JSON document')
    .action(async (model: string, options: InspectOptions) => printResult(await run(model, options), options, inspectionSummary));
}

async function run(model: string, { target, data, plot }: InspectOptions): Promise<InspectResult> {
  await requireFiles(model, data);
  if (plot !== undefined && target === undefined) throw new UsageError('--plot draws off-chip traffic: name an accelerator with --target.');
  const accelerator = target === undefined ? undefined : await readAccelerator(target);
  const { inspect, renderTrafficPlot } = await import('#engine');
  const result = await withScratch((scratch) =>
    inspect({
      modelPath: resolve(model),
      ...(data === undefined ? {} : { dataPath: resolve(data) }),
      ...(accelerator ? { accelerator } : {}),
      scratch,
    }),
  );
  if (plot !== undefined && result.traffic) await writeFile(plot, renderTrafficPlot(result.traffic));
  return result;
}

type Interface = InspectResult['structure']['inputs'];

function inspectionSummary({ bytes, structure, macs, traffic, warnings }: InspectResult): string {
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
    ...(traffic ? ['', ...trafficSummary(traffic)] : []),
    ...warnings.map((text) => `warning: ${text}`),
  ].join('\n');
}

function interfaceRows(role: string, values: Interface): string[][] {
  return values.map(({ name, kind, data_type, shape }) => [
    `${role} ${name}`,
    `${data_type ?? kind}[${shape?.map((size) => size ?? '?').join(', ') ?? '...'}]`,
  ]);
}
