/** The report of residual branches that became one layer, or went. */
import { reportName } from '../layers/weight-store.js';
import type { NodeChange } from '../method.js';
import { METHOD } from './pruning-study.js';
import type { ReducedBranch } from './structure/branch-surgery.js';

export function branchLines({ branch, form }: ReducedBranch): NodeChange[] {
  const { sum, nodes, standIn } = branch;
  const place = `the residual branch before ${reportName(sum)}`;
  if (form === 'closed' || !standIn)
    return [sum, ...nodes].map((node) => ({
      ...{ node: reportName(node), op_type: node.opType, by: METHOD, action: 'removed' },
      reason: `${place} was removed: the sum is its other term`,
    }));
  const staying = new Set([...standIn.around, standIn.last]);
  return nodes
    .filter((node) => !staying.has(node))
    .map((node) => ({
      ...{ node: reportName(node), op_type: node.opType, by: METHOD, action: 'removed' },
      reason: `one linear layer, ${reportName(standIn.last)}, stands in for ${place}`,
    }));
}
