/** The bytes that each layer moves as a picture of one file: stacked bars for weights, maps read, maps written and what is fetched again. */
import type { LayerTraffic } from '../accelerators/index.js';
import { asBytes, asNumber } from './html-report/figures.js';
import { html, type Markup, shortName } from './html-report/markup.js';
import type { InspectedTraffic } from './inspect.js';
import { energyOf } from './traffic.js';

const parts = [
  { field: 'weight_bytes', title: 'weights', shade: 'weights' },
  { field: 'input_bytes', title: 'maps read', shade: 'read' },
  { field: 'output_bytes', title: 'maps written', shade: 'written' },
  { field: 'refetch_bytes', title: 'fetched again', shade: 'again' },
] as const satisfies readonly { field: keyof LayerTraffic; title: string; shade: string }[];

const style = `
svg { background: #ffffff; font: 12px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; } text { fill: #1b2430; } .soft { fill: #5c6878; }
.weights { fill: #98a4b3; } .read { fill: #2266d3; } .written { fill: #6aa2ff; } .again { fill: #b3261e; }
@media (prefers-color-scheme: dark) { svg { background: #1b212a; } text { fill: #e6eaf0; } .soft { fill: #9aa6b5; } .again { fill: #ff8a80; } }`;

const [NAME_WIDTH, BAR_WIDTH, FIGURE_WIDTH, ROW, TOP] = [260, 480, 100, 20, 74];

/** An SVG document. Names of layers may be anything; they appear as text. */
export function renderTrafficPlot(traffic: InspectedTraffic): string {
  const { accelerator, layers, total } = traffic;
  const width = NAME_WIDTH + BAR_WIDTH + FIGURE_WIDTH;
  const height = TOP + ROW * layers.length + 12;
  const most = Math.max(Number.MIN_VALUE, ...layers.map(bytesOf));
  return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="Off-chip bytes by layer">
<style>${style}</style>
<text x="12" y="22" font-weight="600">Off-chip traffic on ${shortName(accelerator.title)}</text>
<text x="12" y="40" class="soft">${asBytes(Math.round(total.bytes))} and ${asNumber(energyOf(total) / 1e6)} µJ per inference, by the model of the accelerator</text>
${parts.map(
  ({ title, shade }, index) =>
    html`<rect x="${12 + 120 * index}" y="50" width="10" height="10" class="${shade}" /><text x="${27 + 120 * index}" y="59" class="soft">${title}</text>
`,
)}${layers.map((layer, index) => layerRow(layer, TOP + ROW * index, most))}</svg>
`.text;
}

function bytesOf(layer: LayerTraffic): number {
  return parts.reduce((sum, { field }) => sum + layer[field], 0);
}

function layerRow(layer: LayerTraffic, y: number, most: number): Markup {
  let from = NAME_WIDTH;
  const bars = parts.map(({ field, shade }) => {
    const width = (BAR_WIDTH * layer[field]) / most;
    const drawn = width > 0 ? html`<rect x="${round(from)}" y="${y + 3}" width="${round(width)}" height="13" class="${shade}" />` : null;
    from += width;
    return drawn;
  });
  return html`<text x="${NAME_WIDTH - 8}" y="${y + 14}" text-anchor="end">${shortName(layer.node, 38)}</text>${bars}<text x="${round(from + 6)}" y="${y + 14}" class="soft">${asBytes(Math.round(bytesOf(layer)))}</text>
`;
}

const round = (value: number): number => Math.round(100 * value) / 100;
