/** Which layers a page shows when a model has thousands: the ones that lose most, in the order of the model. */
import type { LayerReport } from '../../method.js';

export interface ShownLayer {
  readonly layer: LayerReport;
  /** Its place in report.json's `layers`. */
  readonly index: number;
}

/** At most `limit` of `layers`: those with the lowest SQNR; a layer without one comes last. */
export function worstLayers(layers: readonly ShownLayer[], limit: number): readonly ShownLayer[] {
  if (layers.length <= limit) return layers;
  const quality = ({ layer }: ShownLayer): number => layer.sqnr_db ?? layer.sqnr_local_db ?? Number.MAX_VALUE;
  return [...layers]
    .sort((a, b) => quality(a) - quality(b) || a.index - b.index)
    .slice(0, limit)
    .sort((a, b) => a.index - b.index);
}
