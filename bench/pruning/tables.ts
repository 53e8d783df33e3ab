/** The result as Markdown for docs/benchmarks.md. */
import { digits, type Line, markdownTable, verdictTable } from '../quantization/tables.js';
import type { Verdict } from '../quantization/thresholds.js';

const of = (lines: readonly Line[], section: string): readonly Line[] =>
  lines.filter((line) => line.section === section && line.failed === undefined);
const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');
const entry = (value: unknown, key: string): unknown => (typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined);
const kept = (line: Line, figure: string): string => digits(entry(line.kept, figure), 'share');
const table = (title: string, head: readonly string[], rows: readonly (readonly string[])[]): string =>
  rows.length === 0 ? '' : `### ${title}\n\n${markdownTable(head, rows)}`;

function exactnessTable(lines: readonly Line[]): string {
  const rows = of(lines, 'exactness')
    .filter((line) => line.cases !== undefined)
    .map((line) => [text(line.cases), text(line.pruned), digits(line.worst), text(line.above), text(line.refused)]);
  return table('Exactness', ['Graphs', 'with units removed', 'worst error', 'above 1e-4', 'refused'], rows);
}

function modelsTable(lines: readonly Line[]): string {
  const rows = of(lines, 'models').map((line) => [
    text(line.subject),
    text(line.asked),
    kept(line, 'macs'),
    kept(line, 'parameters'),
    kept(line, 'bytes'),
    digits(line.speedup),
    digits(line.sqnr_db),
    text(line.pruned),
    String(Object.values(Object(line.frozen)).reduce((sum: number, count) => sum + Number(count), 0)),
    digits(line.seconds),
  ]);
  const head = ['Model', 'MACs asked', 'MACs', 'weights', 'bytes', 'x speed', 'SQNR, dB', 'layers pruned', 'left', 's'];
  return table('Models', head, rows);
}

function latencyTable(lines: readonly Line[]): string {
  const rows = of(lines, 'latency').map((line) => [
    text(line.subject),
    text(line.asked),
    text(line.threads),
    text(line.round_to),
    kept(line, 'macs'),
    digits(line.source_ms),
    digits(line.speedup),
  ]);
  return table('Latency', ['Model', 'MACs asked', 'Threads', 'Multiples of', 'MACs', 'source, ms', 'x speed'], rows);
}

function repairTable(lines: readonly Line[]): string {
  const means = of(lines, 'repair').filter((line) => line.mean !== undefined);
  const rows = means.map((line) => [
    text(line.asked),
    text(line.variant),
    digits(line.mean, 'share'),
    `${digits(line.low, 'share')} to ${digits(line.high, 'share')}`,
    digits(line.seconds),
  ]);
  return table('Repair without labels: resnet8, four sets of 1,000 images', ['MACs asked', 'Variant', 'top-1', 'range', 's'], rows);
}

function recoveryTable(lines: readonly Line[]): string {
  const rows = of(lines, 'repair')
    .filter((line) => line.recovered !== undefined)
    .map((line) => [
      text(line.subject),
      digits(line.source, 'share'),
      digits(line.plain, 'share'),
      digits(line.ours, 'share'),
      digits(line.recovered, 'share'),
    ]);
  return table('Half of the MACs of each classifier', ['Model', 'source', 'L2 alone', 'default', 'of the loss back'], rows);
}

function combinationTable(lines: readonly Line[]): string {
  const megabytes = (value: unknown): string => (typeof value === 'number' ? digits(value / 1e6) : '');
  const rows = of(lines, 'combination')
    .filter((line) => line.speedup !== undefined)
    .map((line) => [
      text(line.subject),
      text(line.artifact),
      megabytes(line.source_bytes),
      megabytes(line.bytes),
      digits(line.speedup),
      digits(line.product),
      digits(line.top1, 'share'),
      digits(line.source_top1, 'share'),
      digits(line.sqnr_db),
    ]);
  const head = ['Model', 'Recipe', 'source, MB', 'MB', 'x speed', 'product', 'top-1', 'source', 'SQNR, dB'];
  return table('Pruning and int8', head, rows);
}

export function report(lines: readonly Line[], verdicts: readonly Verdict[]): string {
  const tables = [exactnessTable, modelsTable, latencyTable, repairTable, recoveryTable, combinationTable].map((make) => make(lines));
  return [...tables, verdictTable(verdicts)].filter((each) => each !== '').join('\n\n');
}
