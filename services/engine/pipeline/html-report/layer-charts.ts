/** Per-layer charts: quality of each layer alone and with all before it, and its time before and after. */
import { asDecibels, asMicroseconds, figure, plural } from './figures.js';
import { html, type Insertable, type Markup } from './markup.js';
import { bar, dot, legend, rowChart, Scale, span } from './row-chart.js';
import { type ShownLayer, worstLayers } from './shown-layers.js';

/** Rows of one chart; a longer one is no picture any more. */
const ROWS_MAX = 60;
/** A decibel above this tells nothing that a person acts on; equal outputs are reported as 200 dB. */
const DECIBELS_MAX = 80;

export function sqnrChart(layers: readonly ShownLayer[]): Markup | null {
  const measured = layers.filter(({ layer }) => layer.sqnr_db !== undefined || layer.sqnr_local_db !== undefined);
  if (measured.length === 0) return null;
  const shown = worstLayers(measured, ROWS_MAX);
  const values = shown.flatMap(({ layer }) => [layer.sqnr_db, layer.sqnr_local_db].filter((value) => value !== undefined));
  const scale = decibelScale(values);
  return html`<section><h2>Signal to noise by layer</h2>
<p class="note">10 log10(Σy² / Σ(y − y′)²) of each layer's output, in dB; more is better.${omitted(measured, shown)}</p>
${legend('this layer alone', 'with all before it')}
${rowChart({ label: 'Signal to noise ratio by layer', rows: shown.map((each) => sqnrRow(each, scale)), scale, unit: 'dB' })}</section>`;
}

function decibelScale(values: readonly number[]): Scale {
  const low = Math.floor(Math.max(-20, Math.min(0, ...values)) / 10) * 10;
  const high = Math.ceil(Math.min(DECIBELS_MAX, Math.max(10, ...values)) / 10) * 10;
  return new Scale(low, high, high - low > 50 ? 20 : 10);
}

function sqnrRow({ layer, index }: ShownLayer, scale: Scale) {
  const { sqnr_db: accumulated, sqnr_local_db: local } = layer;
  const marks: Insertable[] = [];
  if (accumulated !== undefined && local !== undefined) marks.push(span(scale.at(local), scale.at(accumulated)));
  if (local !== undefined) marks.push(dot(scale.at(local), 'before'));
  if (accumulated !== undefined) marks.push(dot(scale.at(accumulated), 'after'));
  const figures = [
    figure(`layers[${index}].sqnr_local_db`, local, asDecibels),
    local !== undefined && accumulated !== undefined ? ' → ' : null,
    figure(`layers[${index}].sqnr_db`, accumulated, asDecibels),
  ];
  return { name: layer.node, marks, figures };
}

export function timeChart(layers: readonly ShownLayer[]): Markup | null {
  const measured = layers.filter(({ layer }) => layer.time_before_us !== undefined || layer.time_after_us !== undefined);
  if (measured.length === 0) return null;
  const longest = ({ layer }: ShownLayer): number => Math.max(layer.time_before_us ?? 0, layer.time_after_us ?? 0);
  const shown = [...measured].sort((a, b) => longest(b) - longest(a) || a.index - b.index).slice(0, ROWS_MAX);
  shown.sort((a, b) => a.index - b.index);
  const most = Math.max(...shown.map(longest), Number.MIN_VALUE);
  return html`<section><h2>Time by layer</h2>
<p class="note">Time of one run on the CPU named above; less is better.${measured.length > shown.length ? ` The ${shown.length} longest of ${plural(measured.length, 'layer')}.` : null}</p>
${legend('source', 'artifact')}
${rowChart({ label: 'Time by layer', rows: shown.map((each) => timeRow(each, most)) })}</section>`;
}

function timeRow({ layer, index }: ShownLayer, most: number) {
  const { time_before_us: before, time_after_us: after } = layer;
  return {
    name: layer.node,
    marks: [
      before === undefined ? null : bar((100 * before) / most, 'before', 'upper'),
      after === undefined ? null : bar((100 * after) / most, 'after', 'lower'),
    ],
    figures: [
      figure(`layers[${index}].time_before_us`, before, asMicroseconds),
      before !== undefined && after !== undefined ? ' → ' : null,
      figure(`layers[${index}].time_after_us`, after, asMicroseconds),
    ],
  };
}

function omitted(all: readonly ShownLayer[], shown: readonly ShownLayer[]): string | null {
  return all.length > shown.length ? ` The ${shown.length} lowest of ${plural(all.length, 'layer')}; report.json has all.` : null;
}
