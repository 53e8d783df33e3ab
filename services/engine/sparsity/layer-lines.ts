/** What the report says of each layer: how many of its weights are left, in which pattern, by which criterion, or why it stayed dense. */
import { float32Values, type Node } from '../ir/index.js';
import { reportName } from '../layers/weight-store.js';
import type { LayerReport, NodeChange } from '../method.js';
import type { BoundedWeights } from './bounded-sparsity.js';
import type { LayerNoise } from './layer-noise.js';
import type { Criterion } from './options.js';
import { patternWords } from './pattern.js';
import type { PlannedWeight, SparsityPlan } from './plan.js';
import type { PrunedWeight } from './prune-weights.js';

const METHOD = 'sparsity';

export interface DescribedSparsity {
  readonly plan: SparsityPlan;
  readonly bounded: BoundedWeights;
  readonly noise: ReadonlyMap<Node, LayerNoise>;
  /** What the recipe asked for. */
  readonly criterion: Criterion;
}

export function describeLayers(described: DescribedSparsity): { nodes: NodeChange[]; layers: LayerReport[] } {
  const { plan, bounded, noise } = described;
  const byNode = new Map<Node, PlannedWeight[]>();
  for (const weight of plan.weights) for (const { node } of weight.readers) byNode.set(node, [...(byNode.get(node) ?? []), weight]);
  const nodes: NodeChange[] = [];
  const layers: LayerReport[] = [];
  for (const [node, weights] of byNode) {
    const pruned = weights.flatMap((weight) => {
      const matrix = bounded.pruned.get(weight);
      return matrix ? [{ weight, matrix }] : [];
    });
    const words = weights.map((weight) => sentence(weight, described)).join('; ');
    nodes.push(line(node, pruned.length > 0 ? 'changed' : 'left', words));
    if (pruned.length > 0) layers.push({ ...layerReport(node, pruned), ...noise.get(node) });
  }
  return { nodes: [...nodes, ...leftLines(plan.left)], layers };
}

export function leftLines(left: SparsityPlan['left']): NodeChange[] {
  return [...left].map(([node, reason]) => line(node, 'left', reason));
}

function line(node: Node, action: NodeChange['action'], reason: string): NodeChange {
  return { node: reportName(node), op_type: node.opType, action, by: METHOD, reason };
}

function sentence(weight: PlannedWeight, { bounded, criterion }: DescribedSparsity): string {
  const { value, tensor } = weight.constant;
  const name = `weight "${value.name}" [${tensor.dims}]`;
  const matrix = bounded.pruned.get(weight);
  if (!matrix) return `${name} ${bounded.reverted.get(weight) ?? 'stays dense'}`;
  const count = matrix.values.length;
  const share = ((100 * (count - nonzeros(matrix.values))) / count).toFixed(1);
  const blind = matrix.criterion === criterion ? '' : ', as its inputs cannot be seen';
  const bias = matrix.biasShift ? ', bias corrected' : '';
  return `${name}: ${share} % zero, ${patternWords(weight.pattern)}, by ${matrix.criterion}${blind}${bias}`;
}

/** A weight that several layers share is counted with the first of them, so that a sum over layers is right. */
function layerReport(node: Node, pruned: readonly { weight: PlannedWeight; matrix: PrunedWeight }[]): LayerReport {
  const own = pruned.filter(({ weight }) => weight.readers[0].node === node);
  const sum = (of: (each: (typeof own)[number]) => number): number => own.reduce((total, each) => total + of(each), 0);
  const form = [...new Set(pruned.map(({ weight }) => patternWords(weight.pattern)))].join(', ');
  const counts = {
    // Stored as they are, zeros take as many bytes as other numbers.
    bytes_before: sum(({ weight }) => weight.constant.tensor.data.byteLength),
    bytes_after: sum(({ matrix }) => matrix.values.byteLength),
    nonzeros_before: sum(({ weight }) => nonzeros(float32Values(weight.constant.tensor))),
    nonzeros_after: sum(({ matrix }) => nonzeros(matrix.values)),
  };
  return { node: reportName(node), op_type: node.opType, form: `sparse, ${form}`, ...(own.length > 0 ? counts : {}) };
}

function nonzeros(values: Float32Array): number {
  let count = 0;
  for (const value of values) if (value !== 0) count += 1;
  return count;
}
