/** The result as Markdown for docs/benchmarks.md. */
import { digits, type Line, markdownTable, verdictTable } from '../quantization/tables.js';
import type { Verdict } from '../quantization/thresholds.js';

const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');

function gradientsTable(lines: readonly Line[]): string {
  const rows = lines
    .filter((line) => line.section === 'gradients' && line.failed === undefined)
    .map((line) => [text(line.subject), text(line.parameters), digits(line.difference), digits(line.torch_difference)]);
  const head = ['Model', 'Parameters', 'Lathe, float32', 'PyTorch, float32'];
  return rows.length === 0 ? '' : `### Largest relative difference to the gradients of PyTorch in float64\n\n${markdownTable(head, rows)}`;
}

export function report(lines: readonly Line[], verdicts: readonly Verdict[]): string {
  return [gradientsTable(lines), verdictTable(verdicts)].filter((each) => each !== '').join('\n\n');
}
