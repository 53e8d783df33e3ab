/** Weight and activation histograms as small multiples. */
import type { ValueHistogram } from '../../method.js';
import { asNumber, figure, plural } from './figures.js';
import { html, type Insertable, type Markup, shortName } from './markup.js';
import { type ShownLayer, worstLayers } from './shown-layers.js';

const LAYERS_MAX = 36;
const BINS_MAX = 64;
const HEIGHT = 48;

export function histograms(layers: readonly ShownLayer[]): Markup | null {
  const having = layers.filter(({ layer }) => layer.weight_histogram || layer.activation_histogram);
  if (having.length === 0) return null;
  const shown = worstLayers(having, LAYERS_MAX);
  const more = having.length > shown.length ? ` The ${shown.length} layers of ${plural(having.length, 'layer')} that lose most.` : null;
  return html`<section><h2>Distributions</h2>
<p class="note">Weights and outputs of each layer; the height is the square root of the count, so that rare values can be seen. The shaded
part is the range that the scale covers; what lies outside is clipped.${more}</p>
<div class="multiples">${shown.map(panel)}</div></section>`;
}

function panel({ layer, index }: ShownLayer): Markup {
  return html`<figure><figcaption title="${shortName(layer.node)}">${shortName(layer.node)}</figcaption>
${layer.weight_histogram ? plot(layer.weight_histogram, { title: 'weights', kind: 'before', path: `layers[${index}].weight_histogram` }) : null}
${layer.activation_histogram ? plot(layer.activation_histogram, { title: 'output', kind: 'after', path: `layers[${index}].activation_histogram`, ...(layer.range ? { range: layer.range } : {}) }) : null}</figure>
`;
}

interface PlotOptions {
  readonly title: string;
  readonly kind: 'before' | 'after';
  readonly path: string;
  readonly range?: readonly [number, number];
}

function plot({ low, high, counts }: ValueHistogram, { title, kind, path, range }: PlotOptions): Markup | null {
  const bins = merged(counts);
  const most = Math.max(0, ...bins);
  if (most === 0 || !(high > low)) return null;
  const outline = bins
    .map((count, bin) => {
      const top = Math.round((HEIGHT - HEIGHT * Math.sqrt(count / most)) * 10) / 10;
      return `V${top}H${bin + 1}`;
    })
    .join('');
  return html`<div class="plot"><span class="title">${title}</span><svg viewBox="0 0 ${bins.length} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">${shade({ low, high }, range, bins.length)}<path d="M0 ${HEIGHT}${outline}V${HEIGHT}Z" class="${kind}" /></svg><span class="ends"><span>${figure(`${path}.low`, low, asNumber)}</span><span>${figure(`${path}.high`, high, asNumber)}</span></span></div>`;
}

function shade({ low, high }: Pick<ValueHistogram, 'low' | 'high'>, range: PlotOptions['range'], width: number): Insertable {
  if (!range) return null;
  const at = (value: number): number => Math.round((width * (Math.min(high, Math.max(low, value)) - low) * 100) / (high - low)) / 100;
  return html`<rect x="${at(range[0])}" y="0" width="${Math.max(0, at(range[1]) - at(range[0]))}" height="${HEIGHT}" class="shade" />`;
}

/** At most BINS_MAX bins: neighbours are added up. */
function merged(counts: readonly number[]): readonly number[] {
  const each = Math.ceil(counts.length / BINS_MAX);
  if (each <= 1) return counts;
  return Array.from({ length: Math.ceil(counts.length / each) }, (_, bin) =>
    counts.slice(bin * each, (bin + 1) * each).reduce((sum, count) => sum + count, 0),
  );
}
