/** Charts of one row per thing: a name that may be long, a small drawing that takes the width there is, the figures in words. */
import { html, type Insertable, type Markup, shortName } from './markup.js';

export interface ChartRow {
  readonly name: string;
  /** Drawn in percent of the width and pixels of the height. */
  readonly marks: Insertable;
  readonly figures: Insertable;
}

/** Positions in per cent of the width, from `low` to `high`; what lies outside sticks to the edge. */
export class Scale {
  readonly ticks: readonly number[];

  constructor(
    private readonly low: number,
    private readonly high: number,
    step: number,
  ) {
    this.ticks = Array.from({ length: Math.floor((high - low) / step + 1e-9) + 1 }, (_, index) => low + index * step);
  }

  /** 1 % is left on both sides for the marks themselves. */
  at(value: number): number {
    const share = (Math.min(this.high, Math.max(this.low, value)) - this.low) / (this.high - this.low);
    return Math.round((1 + 98 * share) * 100) / 100;
  }
}

const ROW_HEIGHT = 18;

export function dot(percent: number, kind: 'before' | 'after'): Markup {
  return html`<circle cx="${percent}%" cy="9" r="4.5" class="dot ${kind}" />`;
}

export function span(from: number, to: number): Markup {
  return html`<line x1="${from}%" x2="${to}%" y1="9" y2="9" class="span" />`;
}

/** One bar; `half` leaves the other half of the row to a second one. */
export function bar(percent: number, kind: 'before' | 'after', half?: 'upper' | 'lower'): Markup {
  const [y, height] = half === 'upper' ? [2, 6] : half === 'lower' ? [10, 6] : [3, 12];
  return html`<rect x="0" y="${y}" width="${Math.max(0.3, percent)}%" height="${height}" rx="2" class="${kind}" />`;
}

function gridLines(scale: Scale | undefined): Insertable {
  return scale?.ticks.map((tick) => html`<line x1="${scale.at(tick)}%" x2="${scale.at(tick)}%" y1="0" y2="100%" class="grid" />`);
}

function axis(scale: Scale | undefined, unit: string): Insertable {
  if (!scale) return null;
  const last = scale.ticks.length - 1;
  const anchors = (index: number): string => (index === 0 ? 'start' : index === last ? 'end' : 'middle');
  return html`<div class="row axis"><span></span><svg height="16" aria-hidden="true">${scale.ticks.map(
    (tick, index) =>
      html`<text x="${scale.at(tick)}%" y="12" text-anchor="${anchors(index)}">${tick}${index === last ? ` ${unit}` : ''}</text>`,
  )}</svg><span></span></div>`;
}

export interface RowChart {
  readonly label: string;
  readonly rows: readonly ChartRow[];
  readonly scale?: Scale;
  readonly unit?: string;
}

export function rowChart({ label, rows, scale, unit = '' }: RowChart): Markup {
  const lines = gridLines(scale);
  return html`<div class="chart" role="group" aria-label="${label}">${rows.map(
    ({ name, marks, figures }) =>
      html`<div class="row"><span class="name" title="${shortName(name)}">${shortName(name)}</span><svg height="${ROW_HEIGHT}" aria-hidden="true">${lines}${marks}</svg><span class="figures">${figures}</span></div>
`,
  )}${axis(scale, unit)}</div>`;
}

export function legend(before: string, after: string): Markup {
  return html`<p class="legend"><i class="key before"></i>${before} <i class="key after"></i>${after}</p>`;
}
