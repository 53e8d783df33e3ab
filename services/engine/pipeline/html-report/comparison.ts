/** Source against artifact: bars for what is compared at a glance, a table for the rest, the bounds of the gate. */
import type { GateCheck } from '../gate.js';
import type { MetricName } from '../plan.js';
import type { CompressionReport, ModelMeasurement } from '../report.js';
import { asBytes, asCount, asFineDecibels, asMilliseconds, asNumber, asShare, type Format, figure } from './figures.js';
import { html, type Insertable, type Markup } from './markup.js';
import { bar, rowChart } from './row-chart.js';

export function comparison({ source, artifact }: CompressionReport): Markup {
  const pair = [source, artifact] as const;
  return html`<section><h2>Before and after</h2><div class="columns">${bars(pair, { field: 'bytes', title: 'Size', format: asBytes })}${bars(
    pair,
    {
      field: 'latency_ms',
      title: 'Latency, median',
      format: asMilliseconds,
    },
  )}</div>
${modelTable(source, artifact)}</section>`;
}

interface Bars {
  readonly field: 'bytes' | 'latency_ms';
  readonly title: string;
  readonly format: Format;
}

function bars([source, artifact]: readonly [ModelMeasurement, ModelMeasurement], { field, title, format }: Bars): Markup | null {
  const [before, after] = [source[field], artifact[field]];
  if (before === null || after === null) return null;
  const most = Math.max(before, after, Number.MIN_VALUE);
  const rows = [
    { name: 'source', marks: bar((100 * before) / most, 'before'), figures: figure(`source.${field}`, before, format) },
    { name: 'artifact', marks: bar((100 * after) / most, 'after'), figures: figure(`artifact.${field}`, after, format) },
  ];
  return html`<div><h3>${title}</h3>${rowChart({ label: title, rows })}</div>`;
}

const rows: readonly {
  readonly title: string;
  readonly field: 'compressed_bytes' | 'p90_ms' | 'min_ms' | 'parameters' | 'nodes' | 'macs';
  readonly format: Format;
}[] = [
  { title: 'size, packed by gzip', field: 'compressed_bytes', format: asBytes },
  { title: 'latency, 90 % of runs within', field: 'p90_ms', format: asMilliseconds },
  { title: 'latency, fastest run', field: 'min_ms', format: asMilliseconds },
  { title: 'parameters', field: 'parameters', format: asCount },
  { title: 'nodes', field: 'nodes', format: asCount },
  { title: 'multiply-accumulates of a run', field: 'macs', format: asCount },
];

const metrics: readonly { readonly name: MetricName; readonly format: Format }[] = [
  { name: 'top1', format: asShare },
  { name: 'top5', format: asShare },
  { name: 'mse', format: asNumber },
  { name: 'mae', format: asNumber },
  { name: 'psnr', format: asFineDecibels },
  { name: 'ssim', format: (share) => share.toFixed(4) },
  { name: 'mape', format: asShare },
  { name: 'smape', format: asShare },
  { name: 'mase', format: asNumber },
];

function modelTable(source: ModelMeasurement, artifact: ModelMeasurement): Markup {
  const line = (title: string, before: Insertable, after: Insertable): Markup | null =>
    before === null && after === null ? null : html`<tr><th scope="row">${title}</th><td>${before}</td><td>${after}</td></tr>`;
  return html`<div class="scroll"><table><thead><tr><th></th><th>source</th><th>artifact</th></tr></thead><tbody>${rows.map(
    ({ title, field, format }) =>
      line(title, figure(`source.${field}`, source[field], format), figure(`artifact.${field}`, artifact[field], format)),
  )}${metrics.map(({ name, format }) =>
    line(
      name,
      figure(`source.metrics.${name}`, source.metrics?.[name], format),
      figure(`artifact.metrics.${name}`, artifact.metrics?.[name], format),
    ),
  )}</tbody></table></div>`;
}

const checkWords: Readonly<Record<GateCheck['check'], string>> = {
  max_metric_drop: 'loss of the metric, at most',
  min_speedup: 'speedup, at least',
  min_size_ratio: 'size ratio, at least',
  min_sqnr_db: 'SQNR in dB, at least',
  budget_macs: 'multiply-accumulates kept',
  budget_parameters: 'weights kept',
  budget_bytes: 'bytes kept',
  budget_latency: 'latency kept',
  finite_outputs: 'outputs that are finite in one model only, at most',
};

export function gateTable({ gate }: CompressionReport): Markup {
  return html`<section><h2>Quality gate</h2><div class="scroll"><table><thead><tr><th>bound</th><th>limit</th><th>measured</th><th></th></tr></thead><tbody>${gate.checks.map(
    ({ check, metric, limit, actual, passed }, index) => html`<tr><th scope="row">${checkWords[check]}${metric ? ` (${metric})` : null}</th>
<td>${figure(`gate.checks[${index}].limit`, limit, asNumber)}</td>
<td>${figure(`gate.checks[${index}].actual`, actual, asNumber) ?? 'not measurable'}</td>
<td class="${passed ? 'good' : 'bad'}">${passed ? '✓ kept' : '✗ missed'}</td></tr>`,
  )}</tbody></table></div></section>`;
}
