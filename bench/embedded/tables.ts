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

export function report(lines: readonly Line[], verdicts: readonly Verdict[]): string {
  return [codecTable(lines), verdictTable(verdicts)].filter((each) => each !== '').join('\n\n');
}
