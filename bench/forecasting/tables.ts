/** The result as Markdown for docs/benchmarks.md. */
import { digits, type Line, markdownTable, verdictTable } from '../quantization/tables.js';
import type { Verdict } from '../quantization/thresholds.js';

const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');
const percent = (value: unknown): string => (typeof value === 'number' ? (100 * value).toFixed(2) : '');
const decimal = (value: unknown): string => digits(value, 'share');
const of = (lines: readonly Line[], section: string): readonly Line[] =>
  lines.filter((line) => line.section === section && line.failed === undefined);

function fewBitsTable(lines: readonly Line[]): string {
  const found = of(lines, 'fewbits');
  const row = (form: string, etth: Line | undefined, pjm: Line | undefined, prefix = ''): string[] => [
    form,
    ...[etth?.[`${prefix}mse`], etth?.[`${prefix}mase`]].map(decimal),
    percent(pjm?.[`${prefix}mape`]),
    decimal(pjm?.[`${prefix}mase`]),
    ...(prefix === '' ? [text(etth?.bytes), text(pjm?.bytes)] : ['', '']),
  ];
  const line = (subject: string, form: unknown): Line | undefined => found.find((each) => each.subject === subject && each.form === form);
  const forms = [...new Set(found.map(({ form }) => form))];
  const rows = [
    row(
      'float',
      found.find(({ subject }) => subject === 'etth'),
      found.find(({ subject }) => subject === 'pjm'),
      'float_',
    ),
    ...forms.map((form) => row(text(form), line('etth', form), line('pjm', form))),
  ];
  const head = ['Bits', 'ETTh1 MSE', 'MASE', 'PJM MAPE, %', 'MASE', 'ETTh1 bytes', 'PJM bytes'];
  return found.length === 0 ? '' : `### Forecasters in few bits\n\n${markdownTable(head, rows)}`;
}

/** What the search gave each tensor. */
function bitsTable(lines: readonly Line[]): string {
  const rows = of(lines, 'fewbits')
    .filter(({ form }) => text(form).includes('sensitivity'))
    .flatMap(({ subject, bits }) =>
      Object.entries((bits ?? {}) as Record<string, number>).map(([tensor, width]) => [text(subject), tensor, text(width)]),
    );
  return rows.length === 0 ? '' : `### Bits that the search finds, 4 in the mean\n\n${markdownTable(['Model', 'Tensor', 'Bits'], rows)}`;
}

function artifactTable(lines: readonly Line[]): string {
  const rows = of(lines, 'artifact').map((line) => [
    text(line.form),
    text(line.bytes),
    decimal(line.mse),
    ...[line.before_ms, line.after_ms].map((value) => digits(value)),
  ]);
  return rows.length === 0 ? '' : `### lstm_att in 8 bits\n\n${markdownTable(['Form', 'Bytes', 'MSE', 'float, ms', 'ms'], rows)}`;
}

function recipeTable(lines: readonly Line[]): string {
  const rows = of(lines, 'recipe').map((line) => [
    text(line.form),
    percent(line.mape),
    decimal(line.mase),
    text(line.parameters),
    text(line.bytes),
    digits(line.seconds),
  ]);
  const head = ['Stage', 'MAPE, %', 'MASE', 'Parameters', 'Bytes', 'Seconds'];
  return rows.length === 0 ? '' : `### The PJM load from nothing\n\n${markdownTable(head, rows)}`;
}

export function report(lines: readonly Line[], verdicts: readonly Verdict[]): string {
  return [fewBitsTable(lines), bitsTable(lines), artifactTable(lines), recipeTable(lines), verdictTable(verdicts)]
    .filter((table) => table !== '')
    .join('\n\n');
}
