/** How each method that learned came down: loss, and accuracy where labels are classes, over the epochs. */
import type { LearningCurvePoint, TrainingSummary } from '../../method.js';
import type { CompressionReport } from '../report.js';
import { asCount, asNumber, asSeconds, asShare, type Format, figure } from './figures.js';
import { html, type Markup, shortName } from './markup.js';

const METHODS_MAX = 12;
/** A line of more points looks the same. */
const POINTS_MAX = 400;
const [WIDTH, HEIGHT] = [1000, 100];
/** A loss that falls by more than this is drawn by its logarithm, so that the end can be seen. */
const LOGARITHMIC_FROM = 20;

export function learningCurves({ training }: CompressionReport): Markup | null {
  if (training.length === 0) return null;
  return html`<section><h2>Learning curve</h2>${training.slice(0, METHODS_MAX).map(methodCurves)}</section>`;
}

function methodCurves(summary: TrainingSummary, index: number): Markup {
  const { method, losses, steps, parameters, seconds, steps_per_second, resumed_at, regularizer } = summary;
  const path = `training[${index}]`;
  const again = resumed_at > 0 ? html`, resumed at step ${figure(`${path}.resumed_at`, resumed_at, asCount)}` : null;
  const pulled = regularizer
    ? html`; ${regularizer.kind}: ${figure(`${path}.regularizer.near_zero`, regularizer.near_zero, asCount)} of ${figure(`${path}.regularizer.units`, regularizer.units, asCount)} channels near zero`
    : null;
  return html`<p><b>${shortName(method, 60)}</b> by ${shortName(losses.join(' + '), 200)}: ${figure(`${path}.parameters`, parameters, asCount)} parameters in ${figure(`${path}.steps`, steps, asCount)} steps, ${figure(`${path}.seconds`, seconds, asSeconds)} (${figure(`${path}.steps_per_second`, steps_per_second, asNumber)} steps per second)${again}${pulled}.</p>
<div class="columns">${lineChart(summary, { path, field: 'loss', format: asNumber })}${lineChart(summary, { path, field: 'accuracy', format: asShare })}</div>`;
}

interface Line {
  /** Of the summary in report.json. */
  readonly path: string;
  readonly field: 'loss' | 'accuracy';
  readonly format: Format;
}

interface Place {
  /** In the curve of report.json. */
  readonly index: number;
  readonly epoch: number;
  readonly value: number;
}

function lineChart({ curve }: TrainingSummary, { path, field, format }: Line): Markup | null {
  const places = placesOf(curve, field);
  const [first, last] = [places[0], places.at(-1)];
  if (!first || !last) return null;
  const values = places.map(({ value }) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const isLogarithmic = field === 'loss' && low > 0 && high / low > LOGARITHMIC_FROM;
  const at = ({ index }: Place): Markup | null => figure(`${path}.curve[${index}].${field}`, curve[index]?.[field], format);
  return html`<figure class="curve"><figcaption>${field}: ${at(first)} → ${at(last)}${isLogarithmic ? ' (logarithmic)' : null}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${field} over the epochs">${gridLines()}<path d="${lineThrough(places, { low, high, isLogarithmic })}" class="line" /></svg>
<span class="ends"><span>epoch ${figure(`${path}.curve[${first.index}].epoch`, first.epoch, asNumber)}</span><span>${figure(`${path}.curve[${last.index}].epoch`, last.epoch, asNumber)}</span></span></figure>
`;
}

/** The points that have this field, thinned out evenly; the first and the last stay. */
function placesOf(curve: readonly LearningCurvePoint[], field: Line['field']): readonly Place[] {
  const all = curve.flatMap((point, index): Place[] => {
    const value = point[field];
    return value !== undefined && Number.isFinite(value) ? [{ index, epoch: point.epoch, value }] : [];
  });
  const each = Math.ceil(all.length / POINTS_MAX);
  return all.filter((_, place) => place % each === 0 || place === all.length - 1);
}

function gridLines(): readonly Markup[] {
  return [0.25, 0.5, 0.75].map((share) => html`<line x1="0" x2="${WIDTH}" y1="${HEIGHT * share}" y2="${HEIGHT * share}" class="grid" />`);
}

interface Extent {
  readonly low: number;
  readonly high: number;
  readonly isLogarithmic: boolean;
}

/** The highest value at the top, the lowest at the bottom, a little room for the stroke; one point is a level line. */
function lineThrough(places: readonly Place[], { low, high, isLogarithmic }: Extent): string {
  const scaled = (value: number): number => (isLogarithmic ? Math.log(value) : value);
  const spread = scaled(high) - scaled(low) || 1;
  const [from, to] = [places[0]?.epoch ?? 0, places.at(-1)?.epoch ?? 0];
  const rounded = (value: number): number => Math.round(value * 10) / 10;
  const points = places.map(({ epoch, value }) => {
    const x = to > from ? (WIDTH * (epoch - from)) / (to - from) : 0;
    return `${rounded(x)} ${rounded(2 + (HEIGHT - 4) * (1 - (scaled(value) - scaled(low)) / spread))}`;
  });
  return `M${points.join('L')}${places.length === 1 ? `H${WIDTH}` : ''}`;
}
