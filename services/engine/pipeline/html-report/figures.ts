/** Figures of the page: each carries the exact value and the place in report.json that it is taken from. */
import { html, type Markup } from './markup.js';

export type Format = (value: number) => string;

/** `<data value="0.9808" title="source.metrics.top1">98.08 %</data>`; nothing where nothing was measured. */
export function figure(path: string, value: number | null | undefined, format: Format): Markup | null {
  if (value === null || value === undefined) return null;
  return html`<data value="${value}" title="${path}">${format(value)}</data>`;
}

const units = ['B', 'kB', 'MB', 'GB', 'TB'] as const;

/** Decimal units, three significant digits. */
export const asBytes: Format = (bytes) => {
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return power === 0 ? `${bytes} B` : `${asNumber(bytes / 1000 ** power)} ${units[power]}`;
};

export const asCount: Format = (count) => count.toLocaleString('en-US');
/** A share, 0 to 1, as per cent. */
export const asShare: Format = (share) => `${(share * 100).toFixed(2)} %`;
export const asMilliseconds: Format = (ms) => (ms < 1 ? `${asNumber(ms * 1000)} µs` : `${asNumber(ms)} ms`);
export const asMicroseconds: Format = (us) => asMilliseconds(us / 1000);
export const asSeconds: Format = (seconds) => `${asNumber(seconds)} s`;
export const asDecibels: Format = (db) => `${db.toFixed(1)} dB`;
/** Where hundredths of a decibel are compared. */
export const asFineDecibels: Format = (db) => `${db.toFixed(2)} dB`;
/** From picojoules. */
export const asEnergy: Format = (picojoules) => `${asNumber(picojoules / 1e6)} µJ`;
export const asCosine: Format = (cosine) => cosine.toFixed(6);

/** Three significant digits, without an exponent where people compare. */
export const asNumber: Format = (value) => {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1000 && size < 1e9) return Math.round(value).toLocaleString('en-US');
  if (size >= 1e-4 && size < 1000) return String(Number(value.toPrecision(3)));
  return value.toExponential(2);
};

/** "1.84× faster", "1.20× slower". */
export function ratioWords(ratio: number, [better, worse]: readonly [string, string]): string {
  return ratio >= 1 ? `${ratio.toFixed(2)}× ${better}` : `${(1 / ratio).toFixed(2)}× ${worse}`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${asCount(count)} ${count === 1 ? one : many}`;
}
