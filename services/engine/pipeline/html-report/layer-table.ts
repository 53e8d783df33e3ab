/** The table of layers: one line for each, a column only for what was measured of some layer. */
import type { LayerReport } from '../../method.js';
import { asBytes, asCosine, asCount, asDecibels, asMicroseconds, asNumber, asShare, type Format, figure, plural } from './figures.js';
import { html, type Insertable, type Markup, shortName } from './markup.js';
import { type ShownLayer, worstLayers } from './shown-layers.js';

const LAYERS_MAX = 200;

interface Column {
  readonly title: string;
  readonly cell: (layer: LayerReport, path: string) => Insertable;
  /** Words are aligned to the left, and may wrap. */
  readonly words?: boolean;
}

type NumericField = {
  [Field in keyof LayerReport]-?: LayerReport[Field] extends number | undefined ? Field : never;
}[keyof LayerReport];

function numeric(title: string, field: NumericField, format: Format): Column {
  return { title, cell: (layer, path) => figure(`${path}.${field}`, layer[field], format) };
}

/** Two figures of a kind in one cell. */
function pair(title: string, [first, second]: readonly [NumericField, NumericField], format: Format): Column {
  return {
    title,
    cell: (layer, path) => {
      const [before, after] = [figure(`${path}.${first}`, layer[first], format), figure(`${path}.${second}`, layer[second], format)];
      return before && after ? [before, ' → ', after] : (before ?? after);
    },
  };
}

const columns: readonly Column[] = [
  { title: 'operator', cell: ({ op_type }) => shortName(op_type, 40), words: true },
  { title: 'form', cell: ({ form }) => shortName(form, 60), words: true },
  { title: 'runs as', cell: kernelOf, words: true },
  pair('weights', ['bytes_before', 'bytes_after'], asBytes),
  pair('not zero', ['nonzeros_before', 'nonzeros_after'], asCount),
  pair('SQNR alone → in all', ['sqnr_local_db', 'sqnr_db'], asDecibels),
  numeric('cosine', 'cosine', asCosine),
  {
    title: 'range',
    cell: ({ range }, path) =>
      range && [figure(`${path}.range[0]`, range[0], asNumber), ' … ', figure(`${path}.range[1]`, range[1], asNumber)],
  },
  numeric('scale', 'scale', asNumber),
  numeric('zero point', 'zero_point', asCount),
  numeric('clipped', 'clipped', asShare),
  pair('time', ['time_before_us', 'time_after_us'], asMicroseconds),
  numeric('pair bound', 'pair_bound', asCount),
];

function kernelOf({ fused, unfused_reason }: LayerReport): Insertable {
  if (fused === undefined) return unfused_reason === undefined ? null : shortName(unfused_reason, 200);
  if (fused) return html`<span class="good">✓ integer kernel</span>`;
  return html`<span class="bad">✗ not fused</span>${unfused_reason === undefined ? null : `: ${shortName(unfused_reason, 200)}`}`;
}

export function layerTable(layers: readonly ShownLayer[]): Markup | null {
  if (layers.length === 0) return null;
  const shown = worstLayers(layers, LAYERS_MAX);
  const cells = shown.map(({ layer, index }) => columns.map(({ cell }) => cell(layer, `layers[${index}]`)));
  const present = columns.flatMap((column, at) =>
    cells.some((row) => row[at] !== null && row[at] !== undefined) ? [{ ...column, at }] : [],
  );
  const omitted =
    layers.length > shown.length
      ? html`<p class="note">The ${shown.length} layers of ${plural(layers.length, 'layer')} that lose most; report.json has all.</p>`
      : null;
  return html`<section><h2>Layers</h2>${omitted}<div class="scroll"><table class="layers"><thead><tr><th>layer</th>${present.map(
    ({ title, words }) => html`<th${words ? wordsClass : null}>${title}</th>`,
  )}</tr></thead><tbody>${shown.map(
    ({ layer }, row) => html`<tr><th scope="row" title="${shortName(layer.node)}">${shortName(layer.node, 60)}</th>${present.map(
      ({ at, words }) => html`<td${words ? wordsClass : null}>${cells[row]?.[at]}</td>`,
    )}</tr>
`,
  )}</tbody></table></div></section>`;
}

const wordsClass = html` class="words"`;
