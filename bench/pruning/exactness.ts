/** Must show 1: random networks pruned at random answer as the originals in which nothing reads the units. */
import { cloneModel, float32Values, type Model, type Tensor, verifyModel } from '../../services/engine/ir/index.js';
import { analyzeStructure } from '../../services/engine/pruning/structure/analyze-structure.js';
import { maskUnits } from '../../services/engine/pruning/structure/mask-units.js';
import type { PruningGroup, PruningUnit } from '../../services/engine/pruning/structure/pruning-structure.js';
import { removeUnits } from '../../services/engine/pruning/structure/remove-units.js';
import { observeShapes } from '../../services/engine/runtime/observe-shapes.js';
import { pseudoRandom } from '../../services/engine/runtime/pseudo-random.js';
import { makeNetwork } from '../../test/support/random-networks/index.js';
import type { Workbench } from '../quantization/workbench.js';
import { exactnessCases, exactnessError } from './thresholds.js';

export async function exactnessSection(bench: Workbench): Promise<void> {
  let [pruned, units, worst, above, refused] = [0, 0, 0, 0, 0];
  const blocks = new Map<string, number>();
  for (let seed = 1; seed <= exactnessCases; seed += 1) {
    const network = makeNetwork(seed);
    for (const name of new Set(network.blocks)) blocks.set(name, (blocks.get(name) ?? 0) + 1);
    try {
      const result = await pruneAtRandom(bench, network, seed);
      units += result.removed;
      if (result.removed > 0) pruned += 1;
      worst = Math.max(worst, result.difference);
      if (!(result.difference <= exactnessError.limit)) above += 1;
    } catch (error) {
      refused += 1;
      bench.tell({ section: 'exactness', seed, blocks: network.blocks, failed: error instanceof Error ? error.message : String(error) });
    }
  }
  bench.tell({ section: 'exactness', cases: exactnessCases, pruned, units, worst, above, refused, blocks: Object.fromEntries(blocks) });
  bench.judge(`${exactnessCases} random graphs`, 'largest error of the pruned model', {
    measured: refused > 0 ? null : worst,
    bound: exactnessError,
  });
  bench.judge(`${exactnessCases} random graphs`, 'refused or above', { measured: refused + above, bound: { limit: 0, kind: 'most' } });
}

interface Network {
  readonly model: Model;
  readonly feeds: ReadonlyMap<string, Tensor>;
}

async function pruneAtRandom(
  { runtime }: Workbench,
  { model, feeds }: Network,
  seed: number,
): Promise<{ readonly removed: number; readonly difference: number }> {
  const { shapes } = await observeShapes(runtime, { model, feeds });
  const structure = analyzeStructure(model, shapes);
  const random = pseudoRandom(seed);
  const exact = structure.groups.filter(({ approximate }) => approximate === undefined);
  const units = exact.flatMap((group) => drawn(group, 0.1 + 0.8 * random.uniform(), () => random.uniform()));
  const [masked, pruned] = [cloneModel(model), cloneModel(model)];
  maskUnits(masked, structure, units);
  removeUnits(pruned, structure, units);
  verifyModel(pruned);
  return { removed: units.length, difference: relativeDifference(await outputsOf(masked), await outputsOf(pruned)) };

  async function outputsOf(each: Model): Promise<ReadonlyMap<string, Tensor>> {
    const session = await runtime.open(each, { optimization: 'disabled', threads: 1 });
    try {
      return await session.run(feeds);
    } finally {
      await session.close();
    }
  }
}

/** About `share` of the units, the same number of each part, at least one of each staying. */
function drawn({ parts, units }: PruningGroup, share: number, random: () => number): PruningUnit[] {
  const size = Math.min(...parts.map((part) => part.length));
  const count = Math.min(size - 1, Math.max(1, Math.round(size * share)));
  return parts.flatMap((part) => {
    const shuffled = part.map((unit) => ({ unit, key: random() })).sort((a, b) => a.key - b.key);
    return shuffled.slice(0, count).flatMap(({ unit }) => units[unit] ?? []);
  });
}

/** Largest difference relative to the largest magnitude of its output. */
function relativeDifference(expected: ReadonlyMap<string, Tensor>, actual: ReadonlyMap<string, Tensor>): number {
  let worst = 0;
  for (const [name, tensor] of expected) {
    const other = actual.get(name);
    if (other?.dims.join() !== tensor.dims.join()) throw new Error(`${name} has the shape ${other?.dims}, not ${tensor.dims}`);
    const [left, right] = [float32Values(tensor), float32Values(other)];
    const scale = left.reduce((largest, value) => (Number.isFinite(value) ? Math.max(largest, Math.abs(value)) : largest), 1e-6);
    for (const [at, value] of left.entries()) {
      const difference = Object.is(value, right[at]) ? 0 : Math.abs(value - (right[at] ?? Number.NaN)) / scale;
      worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
    }
  }
  return worst;
}
