/** The table that `lathe compress` ends with: source against artifact, fidelity, what was done to how many nodes. */
import type { CompressionReport } from '#engine';
import { learningCurves } from './learning-curve.js';
import {
  formatBytes,
  formatCount,
  formatLikeness,
  formatMicrojoules,
  formatMilliseconds,
  formatShare,
  significant,
  textTable,
} from './text-table.js';

type Row = readonly [label: string, source: string, artifact: string, change: string];

export function compressionSummary(report: CompressionReport): string {
  const { source, artifact } = report;
  const rows: (readonly string[])[] = [
    ['', 'source', 'artifact', ''],
    ['size', formatBytes(source.bytes), formatBytes(artifact.bytes), `${significant(report.size_ratio)}x smaller`],
    ...packedRow(report),
    ['latency, median', formatMilliseconds(source.latency_ms), formatMilliseconds(artifact.latency_ms), speedupText(report)],
    ['parameters', formatCount(source.parameters), formatCount(artifact.parameters), ''],
    ['nodes', formatCount(source.nodes), formatCount(artifact.nodes), ''],
    ...metricRows(report),
    ...trafficRows(report),
  ];
  return [
    textTable(rows),
    '',
    fidelityLine(report),
    nodesLine(report),
    ...learningCurves(report),
    ...gateLines(report),
    ...report.warnings.map((text) => `warning: ${text}`),
  ].join('\n');
}

/** What zeros are worth shows only once the files are packed. */
function packedRow({ source, artifact }: CompressionReport): Row[] {
  const [before, after] = [source.compressed_bytes, artifact.compressed_bytes];
  if (before === null || after === null) return [];
  return [['size, gzip', formatBytes(before), formatBytes(after), `${significant(before / after)}x smaller`]];
}

function speedupText({ speedup, latency }: CompressionReport): string {
  if (speedup === null) return '';
  const words = speedup >= 1 ? `${significant(speedup)}x faster` : `${significant(1 / speedup)}x slower`;
  const interval = latency?.speedup_interval;
  return interval ? `${words} (95 %: ${significant(interval.low)} to ${significant(interval.high)}x)` : words;
}

/** One row per metric that both models have. */
function metricRows({ source, artifact }: CompressionReport): Row[] {
  const before = source.metrics;
  const after = artifact.metrics;
  if (before === null || after === null) return [];
  const rows: Row[] = [];
  for (const name of ['top1', 'top5'] as const) {
    const [was, is] = [before[name], after[name]];
    if (was === undefined || is === undefined) continue;
    rows.push([name, formatShare(was), formatShare(is), `${signed((is - was) * 100, 2)} points`]);
  }
  for (const name of ['mse', 'mae', 'mape', 'smape', 'mase'] as const) {
    const [was, is] = [before[name], after[name]];
    if (was === undefined || is === undefined) continue;
    rows.push([name, significant(was), significant(is), was === 0 ? '' : `${signed((is / was - 1) * 100, 1)} %`]);
  }
  for (const name of ['psnr', 'ssim'] as const) {
    const [was, is] = [before[name], after[name]];
    if (was === undefined || is === undefined) continue;
    rows.push([name, formatLikeness(name, was), formatLikeness(name, is), signed(is - was, name === 'psnr' ? 2 : 4)]);
  }
  return rows;
}

/** Bytes and energy of an inference on the accelerator that the recipe names. */
function trafficRows({ traffic }: CompressionReport): Row[] {
  if (!traffic?.source || !traffic.artifact) return [];
  const [before, after] = [traffic.source.total, traffic.artifact.total];
  const change = (was: number, is: number): string => (was === 0 ? '' : `${signed((is / was - 1) * 100, 1)} %`);
  return [
    ['off-chip bytes', formatBytes(Math.round(before.bytes)), formatBytes(Math.round(after.bytes)), change(before.bytes, after.bytes)],
    [
      'energy of memory',
      formatMicrojoules(before.dram_picojoules),
      formatMicrojoules(after.dram_picojoules),
      change(before.dram_picojoules, after.dram_picojoules),
    ],
  ];
}

function signed(value: number, digits: number): string {
  return `${value < 0 ? '' : '+'}${value.toFixed(digits)}`;
}

function fidelityLine({ fidelity }: CompressionReport): string {
  const facts = [
    ...(fidelity.sqnr_db === null ? [] : [`SQNR ${significant(fidelity.sqnr_db)} dB`]),
    ...(fidelity.cosine === null ? [] : [`cosine ${fidelity.cosine.toFixed(6)}`]),
    ...(fidelity.max_abs_error === null ? [] : [`largest error ${significant(fidelity.max_abs_error)}`]),
    ...(fidelity.top1_agreement === null ? [] : [`same top-1 in ${formatShare(fidelity.top1_agreement)}`]),
  ];
  const inputs = fidelity.inputs === 'dataset' ? 'samples of the data set' : 'generated samples';
  return `fidelity: ${facts.join(', ')} (${fidelity.samples} ${inputs})`;
}

function nodesLine({ nodes }: CompressionReport): string {
  const counts = new Map<string, number>();
  for (const { by, action } of nodes) counts.set(`${by} ${action}`, (counts.get(`${by} ${action}`) ?? 0) + 1);
  return `nodes: ${[...counts].map(([what, count]) => `${what} ${count}`).join(', ') || 'none touched'}`;
}

function gateLines({ gate }: CompressionReport): string[] {
  // Finite outputs are asked of every artifact; they are worth a line only when it fails.
  const shown = gate.checks.filter(({ check, passed }) => check !== 'finite_outputs' || !passed);
  return shown.map(({ check, limit, actual, passed }) => {
    const measured = actual === null ? 'not measurable' : significant(actual);
    return `gate: ${check} ${significant(limit)}, measured ${measured}: ${passed ? 'kept' : 'MISSED'}`;
  });
}
