/** Repair without labels: layer by layer, the pruned network learns to give what the original gave, by least squares. */
import { EngineError } from '../../engine-errors.js';
import type { Model } from '../../ir/index.js';
import type { LayerReport, MethodContext, NodeChange, RunSource } from '../../method.js';
import type { Survivors } from '../structure/pruning-structure.js';

export interface RepairRequest {
  /** The network before pruning; it is not changed. */
  readonly original: Model;
  /** A pruned copy with the same names of nodes and values; its weights are replaced. */
  readonly pruned: Model;
  /** What remains of the constants of `original`. */
  readonly survivors: Survivors;
  readonly samples: RunSource;
}

export interface RepairOutcome {
  /** A line for each layer: refitted, compensated, or left alone and why. */
  readonly nodes: readonly NodeChange[];
  /** Of the layers that were looked at, in order: `sqnr_db` is that of the layer's output against the original network. */
  readonly layers: readonly LayerReport[];
}

/** Throws EngineError `runtime_failed` when a model does not run on the samples. */
export async function repairLayers(_request: RepairRequest, _context: MethodContext): Promise<RepairOutcome> {
  throw new EngineError('recipe_invalid', 'Repair is being built.');
}
