/** What an inference moves to and from memory on an accelerator, before and after, and how its maps are coded. */
import type { TrafficTotals } from '../../accelerators/index.js';
import type { CompressionReport } from '../report.js';
import { asBytes, asCount, asEnergy, asNumber, asShare, type Format, figure, plural } from './figures.js';
import { html, type Markup, shortName } from './markup.js';
import { bar, legend, rowChart } from './row-chart.js';

const LAYERS_MAX = 60;
const MAPS_MAX = 200;

const asMovedBytes: Format = (bytes) => asBytes(Math.round(bytes));

const rows: readonly { readonly title: string; readonly field: keyof TrafficTotals; readonly format: Format }[] = [
  { title: 'weights', field: 'weight_bytes', format: asMovedBytes },
  { title: 'maps read', field: 'input_bytes', format: asMovedBytes },
  { title: 'maps written', field: 'output_bytes', format: asMovedBytes },
  { title: 'fetched again', field: 'refetch_bytes', format: asMovedBytes },
  { title: 'all bytes', field: 'bytes', format: asMovedBytes },
  { title: 'energy of memory', field: 'dram_picojoules', format: asEnergy },
  { title: 'energy of buffers', field: 'sram_picojoules', format: asEnergy },
  { title: 'energy of multiplications', field: 'compute_picojoules', format: asEnergy },
];

export function trafficSection({ traffic }: CompressionReport): Markup | null {
  if (!traffic?.source || !traffic.artifact) return null;
  const { accelerator, source, artifact, dram_saved } = traffic;
  const cell = (side: 'source' | 'artifact', field: keyof TrafficTotals, format: Format): Markup | null =>
    figure(`traffic.${side}.total.${field}`, (side === 'source' ? source : artifact).total[field], format);
  return html`<section><h2>Off-chip traffic on ${shortName(accelerator.title)}</h2>
<p class="note">One inference by the model of the accelerator, not measured on one; floats count as 16-bit words. ${shortName(accelerator.source, 600)}</p>
<p>Energy of memory saved: <b>${figure('traffic.dram_saved', dram_saved, asShare)}</b></p>
<div class="scroll"><table><thead><tr><th></th><th>source</th><th>artifact</th></tr></thead><tbody>${rows.map(
    ({ title, field, format }) =>
      html`<tr><th scope="row">${title}</th><td>${cell('source', field, format)}</td><td>${cell('artifact', field, format)}</td></tr>`,
  )}</tbody></table></div>
${layerChart(traffic)}</section>`;
}

/** Layers are matched by name; one that the artifact does not have has only its source bar. */
function layerChart({ source, artifact }: NonNullable<CompressionReport['traffic']>): Markup | null {
  if (!source || !artifact) return null;
  const bytesOf = (layer: (typeof source.layers)[number]): number =>
    layer.weight_bytes + layer.input_bytes + layer.output_bytes + layer.refetch_bytes;
  const after = new Map(artifact.layers.map((layer) => [layer.node, bytesOf(layer)]));
  const shown = source.layers.slice(0, LAYERS_MAX);
  const most = Math.max(Number.MIN_VALUE, ...shown.map(bytesOf), ...after.values());
  const more = source.layers.length - shown.length;
  return html`<h3>Bytes by layer</h3>${legend('source', 'artifact')}${rowChart({
    label: 'Bytes by layer',
    rows: shown.map((layer) => {
      const [before, now] = [bytesOf(layer), after.get(layer.node)];
      return {
        name: layer.node,
        marks: [bar((100 * before) / most, 'before', 'upper'), now === undefined ? null : bar((100 * now) / most, 'after', 'lower')],
        figures: [asMovedBytes(before), now === undefined ? null : ` → ${asMovedBytes(now)}`],
      };
    }),
  })}${more > 0 ? html`<p class="note">${plural(more, 'more layer')} in report.json.</p>` : null}`;
}

export function mapCodingSection({ maps }: CompressionReport): Markup | null {
  if (maps.length === 0) return null;
  const shown = maps.slice(0, MAPS_MAX);
  const asBits: Format = (bits) => bits.toFixed(2);
  return html`<section><h2>Maps coded without loss</h2><div class="scroll"><table><thead><tr><th>map</th><th>bits of a code</th><th>bits per value</th><th>entropy</th><th>entropy of differences</th><th>operations to code</th><th>to decode</th></tr></thead><tbody>${shown.map(
    ({ map, bits, bits_per_value, value_entropy, delta_entropy, encode_operations, decode_operations }, index) =>
      html`<tr><th scope="row" title="${shortName(map)}">${shortName(map, 60)}</th><td>${figure(`maps[${index}].bits`, bits, asCount)}</td><td>${figure(`maps[${index}].bits_per_value`, bits_per_value, asBits)}</td><td>${figure(`maps[${index}].value_entropy`, value_entropy, asBits)}</td><td>${figure(`maps[${index}].delta_entropy`, delta_entropy, asBits)}</td><td>${figure(`maps[${index}].encode_operations`, encode_operations, asNumber)}</td><td>${figure(`maps[${index}].decode_operations`, decode_operations, asNumber)}</td></tr>
`,
  )}</tbody></table></div>${maps.length > shown.length ? html`<p class="note">${plural(maps.length - shown.length, 'more map')} in report.json.</p>` : null}</section>`;
}
