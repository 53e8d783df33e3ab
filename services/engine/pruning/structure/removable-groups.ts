/** The structure of a model in the words of those who look at its constants and know nothing of surgery. */
import type { ConstantSlices, RemovableGroup, StructureRequest } from '../../method.js';
import { analyzeStructure } from './analyze-structure.js';
import type { Member } from './pruning-structure.js';

/** Groups whose units can go without changing what the others compute. A slice that several nodes read is there once. */
export function removableGroups({ model, shapes, states }: StructureRequest): readonly RemovableGroup[] {
  return analyzeStructure(model, shapes, { states })
    .groups.filter(({ approximate }) => approximate === undefined)
    .map(({ id, units }) => ({ id, units: units.map(({ members }) => distinctSlices(members)) }));
}

function distinctSlices(members: readonly Member[]): ConstantSlices[] {
  const slices = members.map(
    ({ constant, axis, indices, within }): ConstantSlices => ({ constant: constant.name, axis, indices, ...(within ? { within } : {}) }),
  );
  return [...new Map(slices.map((each) => [JSON.stringify(each), each])).values()];
}
