/** The result as Markdown for docs/benchmarks.md, aligned as the formatter of the repository leaves it. */
import type { Verdict } from './thresholds.js';

export type Line = Readonly<Record<string, unknown>>;

/** Columns as wide as their longest cell. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(3, title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width)).join(' | ')} |`;
  return [line(head), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rows.map(line)].join('\n');
}

/** Accuracies and shares with four digits, others with three significant ones; empty when there is no number. */
export function digits(value: unknown, kind: 'share' | 'number' = 'number'): string {
  if (typeof value !== 'number' || !Number.isFinite(value)) return '';
  if (kind === 'share') return value.toFixed(4).replace(/^0\./, '.');
  return String(Number(value.toPrecision(3)));
}

const of = (lines: readonly Line[], section: string): readonly Line[] =>
  lines.filter((line) => line.section === section && line.failed === undefined);
const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');
const entry = (value: unknown, key: string): unknown => (typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined);

function fidelityTable(lines: readonly Line[]): string {
  const rows = of(lines, 'fidelity')
    .filter((line) => line.artifact !== undefined)
    .map((line) => [
      text(line.subject),
      text(line.artifact),
      digits(line.sqnr_db),
      digits(line.agreement, 'share'),
      digits(line.unfused_agreement, 'share'),
      digits(line.accuracy, 'share'),
      digits(line.accuracy_fp32, 'share'),
      digits(line.p),
    ]);
  const head = ['Model', 'Artifact', 'SQNR, dB', 'Top-1 as fp32', 'Fused as unfused', 'Accuracy', 'fp32', 'p'];
  return rows.length === 0 ? '' : `### Fidelity\n\n${markdownTable(head, rows)}`;
}

const files = ['lathe', 'default', 'minmax', 'rr', 'u8u8'] as const;

function latencyTable(lines: readonly Line[]): string {
  const rows = of(lines, 'latency').map((line) => [
    text(line.subject),
    digits(entry(line.median_ms, 'fp32')),
    ...files.map((file) => digits(entry(line.speedup, file))),
  ]);
  const head = ['Model', 'fp32, ms', ...files.map((file) => `x ${file}`)];
  return rows.length === 0 ? '' : `### Latency, fp32 over artifact\n\n${markdownTable(head, rows)}`;
}

function costTable(lines: readonly Line[], section: 'cost' | 'memory', title: string): string {
  const rows = of(lines, section).map((line) => [
    [line.subject, line.method].filter((part) => part !== undefined).join(' '),
    text(line.samples),
    text(line.tool),
    digits(line.wall_s),
    digits(entry(line.seconds, 'measure')),
    digits(line.cpu_s),
    digits(line.peak_mb),
  ]);
  // The reference measures nothing; what we spend on it is part of our wall time.
  const head = ['Model', 'Samples', 'Tool', 'Wall, s', 'of it measuring', 'Processor, s', 'Peak, MB'];
  return rows.length === 0 ? '' : `### ${title}\n\n${markdownTable(head, rows)}`;
}

function minilmTable(lines: readonly Line[]): string {
  const rows = of(lines, 'minilm')
    .filter((line) => line.artifact !== undefined)
    .map((line) => [
      text(line.artifact),
      digits(line.top1, 'share'),
      digits(line.megabytes),
      digits(line.median_ms),
      digits(line.latency_ratio),
      digits(line.wall_s),
      digits(line.peak_mb),
    ]);
  const head = ['Artifact', 'Top-1', 'MB', 'ms', 'of fp32', 'Wall, s', 'Peak, MB'];
  return rows.length === 0 ? '' : `### MiniLM on SST-2\n\n${markdownTable(head, rows)}`;
}

export function verdictTable(verdicts: readonly Verdict[]): string {
  const word = (met: boolean | null): string => (met === null ? 'open' : met ? 'met' : 'NOT MET');
  const rows = verdicts.map(({ subject, figure, measured, limit, kind, met }) => [
    subject,
    figure,
    digits(measured, figure.includes('top-1') ? 'share' : 'number'),
    `${kind === 'least' ? '>=' : '<='} ${limit}`,
    word(met),
  ]);
  return rows.length === 0 ? '' : `### Asked and measured\n\n${markdownTable(['Model', 'Figure', 'Measured', 'Asked', 'Verdict'], rows)}`;
}

export function report(lines: readonly Line[], verdicts: readonly Verdict[]): string {
  const tables = [
    fidelityTable(lines),
    latencyTable(lines),
    costTable(lines, 'cost', 'Cost'),
    costTable(lines, 'memory', 'Memory'),
    minilmTable(lines),
    verdictTable(verdicts),
  ];
  return tables.filter((table) => table !== '').join('\n\n');
}
