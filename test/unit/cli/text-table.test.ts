/** Tables and figures for people. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatBytes, formatMilliseconds, significant, textTable } from '../../../services/cli/text-table.js';

describe('textTable', () => {
  it('aligns the first column left and the others right', () => {
    expect(
      textTable([
        ['size', '1.00 MB', '0.3 MB'],
        ['latency', '3 ms', '10 ms'],
      ]),
    ).toBe('size     1.00 MB  0.3 MB\nlatency     3 ms   10 ms');
  });
});

describe('figures', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.00 kB'],
    [1_250_000, '1.25 MB'],
    [23_100_000, '23.1 MB'],
    [3_000_000_000_000, '3000 GB'],
  ])('%i bytes are %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it('say when a latency was not measured', () => {
    expect(formatMilliseconds(null)).toBe('-');
  });

  it('are within half a per cent of the value, whatever it is', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-9, max: 1e12, noNaN: true }), (value) => {
        expect(Math.abs(Number(significant(value)) / value - 1)).toBeLessThanOrEqual(0.005);
      }),
    );
  });
});
