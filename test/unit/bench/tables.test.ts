/** The Markdown of the benchmark: aligned, complete, and silent about what was not measured. */
import { expect, test } from 'vitest';
import { digits, markdownTable, report, verdictTable } from '../../../bench/quantization/tables.js';

const cellsOf = (line: string): string[] =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());

test('every row of a table has the width of its head', () => {
  const lines = markdownTable(['Model', 'x'], [['a long name', '1'], ['b']]).split('\n');
  expect(new Set(lines.map((line) => line.length)).size).toBe(1);
  expect(lines.map(cellsOf)).toEqual([
    ['Model', 'x'],
    ['-----------', '---'],
    ['a long name', '1'],
    ['b', ''],
  ]);
});

test('shares have four digits, numbers three significant ones, and absent values none', () => {
  expect([
    digits(0.99849, 'share'),
    digits(1, 'share'),
    digits(26.4712),
    digits(2024.4),
    digits(null),
    digits(undefined),
    digits(Number.NaN),
  ]).toEqual(['.9985', '1.0000', '26.5', '2020', '', '', '']);
});

test('a failed run is a line of the JSON and no row of a table; a section without rows has no table', () => {
  const lines = [
    { section: 'fidelity', subject: 'mlp', artifact: 'lathe', sqnr_db: 30.1, agreement: 0.9995 },
    { section: 'fidelity', subject: 'vit', artifact: 'lathe', failed: 'no such recipe' },
    { section: 'cost', subject: 'vit', samples: 200, failed: 'no such recipe' },
  ];
  const text = report(lines, []);
  expect(text).toContain('### Fidelity');
  expect(text).toContain('.9995');
  expect(text).not.toContain('vit');
  expect(text).not.toContain('### Cost');
});

test('the verdict column says met, NOT MET or open', () => {
  const verdict = { subject: 'mlp', figure: 'logit SQNR, dB', limit: 26.5, kind: 'least' } as const;
  const rows = verdictTable([
    { ...verdict, measured: 30, met: true },
    { ...verdict, measured: 20, met: false },
    { ...verdict, measured: null, met: null },
  ]).split('\n');
  expect(rows.slice(-3).map((row) => cellsOf(row).at(-1))).toEqual(['met', 'NOT MET', 'open']);
  expect(cellsOf(rows.at(-1) ?? '')).toEqual(['mlp', 'logit SQNR, dB', '', '>= 26.5', 'open']);
});
