/** Plain-text tables and the figures in them. */

/** Columns are as wide as their longest cell; all but the first are right-aligned. */
export function textTable(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const units = ['B', 'kB', 'MB', 'GB'] as const;

/** Decimal units, three significant digits. */
export function formatBytes(bytes: number): string {
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return power === 0 ? `${bytes} B` : `${significant(bytes / 1000 ** power)} ${units[power]}`;
}

export function formatMilliseconds(milliseconds: number | null): string {
  return milliseconds === null ? '-' : `${significant(milliseconds)} ms`;
}

export function formatMicrojoules(picojoules: number): string {
  return `${significant(picojoules / 1e6)} µJ`;
}

export function formatCount(count: number | null): string {
  return count === null ? '-' : count.toLocaleString('en-US');
}

/** Decibels with two decimals, a similarity with four. */
export function formatLikeness(metric: 'psnr' | 'ssim', value: number): string {
  return metric === 'psnr' ? `${value.toFixed(2)} dB` : value.toFixed(4);
}

/** A share as per cent with two decimals. */
export function formatShare(share: number | null): string {
  return share === null ? '-' : `${(share * 100).toFixed(2)} %`;
}

/** Three significant digits, without exponent for figures that people compare. */
export function significant(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const text = value.toPrecision(3);
  return text.includes('e') ? (Math.abs(value) >= 1 ? value.toFixed(0) : value.toExponential(2)) : text;
}
