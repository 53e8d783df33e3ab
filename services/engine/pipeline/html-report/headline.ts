/** What a person looks at first: the verdict in one line, warnings, the figures that decide, and where they hold. */
import type { MetricName } from '../plan.js';
import type { CompressionReport } from '../report.js';
import { exactnessOf } from './exactness.js';
import {
  asBytes,
  asCosine,
  asCount,
  asDecibels,
  asEnergy,
  asFineDecibels,
  asMilliseconds,
  asNumber,
  asShare,
  type Format,
  figure,
  plural,
  ratioWords,
} from './figures.js';
import { html, type Insertable, type Markup, shortName } from './markup.js';

const WARNINGS_MAX = 50;
const WARNING_LENGTH = 600;

export function header(report: CompressionReport): Markup {
  const { gate, recipe } = report;
  const methods = recipe.steps.map((step) => step.method).join(', ');
  return html`<header>
<p class="note">Lathe compression report</p>
<h1>${headlineOf(report)}</h1>
<p><span class="badge ${gate.passed ? 'good' : 'bad'}">${gate.passed ? '✓ gate passed' : '✗ gate missed'}</span> ${shortName(methods, 200)}
<span class="note">· target ${typeof report.target === 'string' ? report.target : shortName(report.target.accelerator, 60)} · objective ${report.objective} · <time datetime="${report.created_at}">${report.created_at.slice(0, 16).replace('T', ' ')} UTC</time></span></p>
</header>`;
}

function headlineOf({ size_ratio, speedup }: CompressionReport): string {
  const size = ratioWords(size_ratio, ['smaller', 'larger']);
  return speedup === null ? size : `${size}, ${ratioWords(speedup, ['faster', 'slower'])}`;
}

export function warningList({ warnings }: CompressionReport): Markup | null {
  if (warnings.length === 0) return null;
  const shown = warnings.slice(0, WARNINGS_MAX);
  const more = warnings.length - shown.length;
  return html`<section class="warnings"><h2>⚠ ${plural(warnings.length, 'warning')}</h2><ul>${shown.map(
    (warning) => html`<li>${shortName(warning, WARNING_LENGTH)}</li>`,
  )}</ul>${more > 0 ? html`<p>${plural(more, 'more warning')} in report.json.</p>` : null}</section>`;
}

export function cards(report: CompressionReport): Markup {
  return html`<section class="cards">${sizeCard(report)}${latencyCard(report)}${fidelityCard(report)}${metricCards(report)}${trafficCard(report)}</section>`;
}

function card(title: string, main: Insertable, details: readonly Insertable[]): Markup {
  const lines = details.map((detail) => html`<p>${detail}</p>`);
  return html`<div class="card"><h2>${title}</h2><p class="main">${main}</p>${lines}</div>
`;
}

function sizeCard({ source, artifact, size_ratio }: CompressionReport): Markup {
  return card('Size', figure('artifact.bytes', artifact.bytes, asBytes), [
    html`from ${figure('source.bytes', source.bytes, asBytes)}`,
    figure('size_ratio', size_ratio, (ratio) => ratioWords(ratio, ['smaller', 'larger'])),
  ]);
}

function latencyCard({ source, artifact, speedup, latency }: CompressionReport): Markup {
  const main = figure('artifact.latency_ms', artifact.latency_ms, asMilliseconds);
  if (!main) return card('Latency', 'not measurable', []);
  const interval = latency?.speedup_interval;
  return card('Latency, median', main, [
    html`from ${figure('source.latency_ms', source.latency_ms, asMilliseconds)}`,
    figure('speedup', speedup, (ratio) => ratioWords(ratio, ['faster', 'slower'])),
    interval &&
      html`95 %: ${figure('latency.speedup_interval.low', interval.low, asNumber)} to ${figure('latency.speedup_interval.high', interval.high, asNumber)}`,
  ]);
}

function fidelityCard({ fidelity }: CompressionReport): Markup {
  const { sqnr_db, cosine, top1_agreement, samples } = fidelity;
  const agreement = figure('fidelity.top1_agreement', top1_agreement, asShare);
  const main = figure('fidelity.sqnr_db', sqnr_db, asDecibels) ?? agreement ?? 'not measurable';
  return card('Fidelity to the source', main, [
    agreement && html`same top-1 in ${agreement}`,
    cosine === null ? null : html`cosine ${figure('fidelity.cosine', cosine, asCosine)}`,
    html`${figure('fidelity.samples', samples, asCount)} ${fidelity.inputs === 'dataset' ? 'samples of the data set' : 'generated samples'}`,
  ]);
}

interface ShownMetric {
  readonly name: MetricName;
  readonly title: string;
  readonly format: Format;
  change(before: number, after: number): string | null;
}

const shownMetrics: readonly ShownMetric[] = [
  { name: 'top1', title: 'Top-1 accuracy', format: asShare, change: (before, after) => `${signed((after - before) * 100)} points` },
  { name: 'psnr', title: 'PSNR', format: asFineDecibels, change: (before, after) => `${signed(after - before)} dB` },
  {
    name: 'mse',
    title: 'Mean squared error',
    format: asNumber,
    change: (before, after) => (before === 0 ? null : `${signed((after / before - 1) * 100)} %`),
  },
];

/** Of pictures the ratio, which says the same as the error in the words of the field. */
function metricCards({ source, artifact }: CompressionReport): readonly Markup[] {
  const told = artifact.metrics?.psnr === undefined ? shownMetrics : shownMetrics.filter(({ name }) => name !== 'mse');
  return told.flatMap(({ name, title, format, change }) => {
    const [before, after] = [source.metrics?.[name], artifact.metrics?.[name]];
    if (before === undefined || after === undefined) return [];
    return [
      card(title, figure(`artifact.metrics.${name}`, after, format), [
        html`from ${figure(`source.metrics.${name}`, before, format)}`,
        change(before, after),
        html`${figure('artifact.metrics.samples', artifact.metrics?.samples, asCount)} labelled samples`,
      ]),
    ];
  });
}

function trafficCard({ traffic }: CompressionReport): Markup | null {
  if (!traffic?.source || !traffic.artifact) return null;
  return card('Off-chip energy', figure('traffic.artifact.total.dram_picojoules', traffic.artifact.total.dram_picojoules, asEnergy), [
    html`from ${figure('traffic.source.total.dram_picojoules', traffic.source.total.dram_picojoules, asEnergy)}`,
    html`${figure('traffic.dram_saved', traffic.dram_saved, asShare)} saved`,
    html`on ${shortName(traffic.accelerator.title, 60)}, by model`,
  ]);
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(2)}`;
}

/** Where the artifact gives this answer, and where the times were taken. */
export function validity(report: CompressionReport): Markup {
  const { environment, latency } = report;
  const { verdict, explanation } = exactnessOf(report);
  return html`<section class="validity"><dl>
<dt>Same answer on</dt><dd><b>${verdict}</b>. ${explanation}</dd>
<dt>Measured on</dt><dd><b>${environment.cpu}</b> (${environment.isa}, ${environment.u8s8_saturates ? 'without' : 'with'} VNNI), ${plural(environment.threads, 'thread')} of ${plural(environment.cores, 'core')}, ${environment.runtime}${latency ? html`; inputs ${latency.inputs === 'dataset' ? 'of the data set' : 'generated'}, ${shapesOf(latency.shapes)}` : null}</dd>
</dl></section>`;
}

const SHAPES_MAX = 8;

function shapesOf(shapes: Readonly<Record<string, readonly number[]>>): string {
  const named = Object.entries(shapes);
  const shown = named.slice(0, SHAPES_MAX).map(([name, dims]) => `${shortName(name, 40)} [${dims.join(' × ')}]`);
  return [...shown, ...(named.length > SHAPES_MAX ? [`${plural(named.length - SHAPES_MAX, 'more input')}`] : [])].join(', ');
}
