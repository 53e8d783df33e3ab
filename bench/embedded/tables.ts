/** The result as Markdown for docs/benchmarks.md. */
import { digits, type Line, markdownTable, verdictTable } from '../quantization/tables.js';
import type { Verdict } from '../quantization/thresholds.js';

const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');

function codecTable(lines: readonly Line[]): string {
  const rows = lines
    .filter((line) => line.section === 'codec' && line.bits_per_value !== undefined)
    .map((line) => [
      text(line.subject),
      text(line.map),
      text(line.bits),
      ...[line.bits_per_value, line.value_entropy, line.delta_entropy, line.to_entropy, line.decode_operations].map((value) =>
        digits(value),
      ),
    ]);
  const head = ['Network', 'Map', 'Bits', 'Coded', 'Entropy', 'Of differences', 'Ratio', 'Operations to decode'];
  return rows.length === 0 ? '' : `### Maps coded without loss, bits per value on Set5\n\n${markdownTable(head, rows)}`;
}

function scalingTable(lines: readonly Line[]): string {
  const rows = lines
    .filter((line) => line.section === 'scaling' && line.failed === undefined)
    .map((line) => [
      text(line.subject),
      line.activation_bits === undefined ? 'float' : `${text(line.activation_bits)} / ${text(line.weight_bits)}`,
      line.scaling === true ? `yes, exponent ${text(line.exponent) || 'none'}` : '',
      line.difference === null ? '' : digits(line.difference),
      typeof line.psnr === 'number' ? line.psnr.toFixed(2) : '',
    ]);
  const head = ['Network', 'Bits of maps / weights', 'Scaled', 'Largest difference by scaling', 'PSNR, dB'];
  return rows.length === 0 ? '' : `### Few bits on Set5, with and without scaling\n\n${markdownTable(head, rows)}`;
}

function loweringTable(lines: readonly Line[]): string {
  const percent = (value: unknown): string => (typeof value === 'number' ? `-${(100 * value).toFixed(1)} %` : '');
  const rows = lines
    .filter((line) => line.section === 'lowering' && line.failed === undefined)
    .map((line) => [
      text(line.subject),
      text(line.profile),
      text(line.steps),
      percent(line.lowered),
      percent(line.saved),
      typeof line.lost === 'number' ? line.lost.toFixed(3) : '',
      digits(line.seconds),
    ]);
  const head = [
    'Network',
    'Profile',
    'Steps',
    'Off-chip energy before lowering',
    'lowered, maps not coded',
    'coded',
    'dB lost on Set5',
    'Seconds',
  ];
  return rows.length === 0 ? '' : `### Off-chip energy against 16 bits\n\n${markdownTable(head, rows)}`;
}

function trainedTable(lines: readonly Line[]): string {
  const percent = (value: unknown): string => (typeof value === 'number' ? `-${(100 * value).toFixed(1)} %` : '');
  const decibels = (value: unknown): string => (typeof value === 'number' ? value.toFixed(3) : '');
  const rows = lines
    .filter((line) => line.section === 'trained' && line.failed === undefined)
    .map((line) => [
      ...[text(line.subject), text(line.profile), line.scaled === true ? 'yes' : ''],
      ...[line.pruned, line.lowered, line.saved].map(percent),
      ...[line.student_lost, line.t91_lost, line.lost].map(decibels),
    ]);
  const head = ['Network', 'Profile', 'Scaled', 'pruned', 'lowered', 'coded', 'dB lost on Set5, taught', 'all: on T91', 'on Set5'];
  return rows.length === 0 ? '' : `### Off-chip energy against 16 bits, pruned and taught\n\n${markdownTable(head, rows)}`;
}

export function report(lines: readonly Line[], verdicts: readonly Verdict[]): string {
  const tables = [codecTable(lines), scalingTable(lines), loweringTable(lines), trainedTable(lines), verdictTable(verdicts)];
  return tables.filter((each) => each !== '').join('\n\n');
}
