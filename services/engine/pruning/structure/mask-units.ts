/** The oracle of surgery: the original in which nothing reads the units. */
import { bytesInMemory, dataTypes, elementCount, float32Tensor, type Model, type Tensor } from '../../ir/index.js';
import { keptRows, removedIds } from './kept-indices.js';
import type { Member, PruningUnit } from './pruning-structure.js';
import { maskStates } from './state-adapters.js';
import type { AnalyzedStructure } from './structure-layout.js';
import { SurgeryScope } from './surgery-scope.js';

/**
 * Zeroes, in place, what reads `units` in `model` (the analysed one or an unchanged copy): columns of consumers, and one factor of each
 * product of two activations. What computes the units may stay: nobody sees it. The outputs are those of the pruned model, up to
 * rounding, unless a group is approximate.
 */
export function maskUnits(model: Model, structure: AnalyzedStructure, units: Iterable<PruningUnit>): void {
  const removed = removedIds(structure, units);
  const scope = new SurgeryScope(model, structure, removed);
  const zeroed = new Map<Member['constant'], Member[]>();
  for (const { units: all } of structure.groups) {
    for (const { members } of all.filter(({ id }) => removed.has(id))) {
      for (const member of members) {
        if (member.role === 'consumer') zeroed.set(member.constant, [...(zeroed.get(member.constant) ?? []), member]);
      }
    }
  }
  for (const [value, members] of zeroed) {
    const constant = scope.store.constant(scope.twins.value(value));
    if (constant) scope.store.replace(constant, withZeros(constant.tensor, members));
  }
  for (const { node, index, axis } of structure.contractions) maskInput(scope, { node, index, axis });
  maskStates(structure, scope);
}

function withZeros(tensor: Tensor, members: readonly Member[]): Tensor {
  const bytes = tensor.data.read().slice();
  const width = dataTypes[tensor.dataType].bits / 8;
  for (const member of members) for (const [from, to] of runsOf(tensor.dims, member)) bytes.fill(0, from * width, to * width);
  return { ...tensor, data: bytesInMemory(bytes) };
}

/** The elements of a member, in runs [from, to). */
function* runsOf(dims: readonly number[], { axis, indices, within }: Member): Generator<readonly [number, number]> {
  const [outer, inner] = [elementCount(dims.slice(0, axis)), elementCount(dims.slice(axis + 1))];
  const size = dims[axis] ?? 1;
  // Positions of an axis behind this one stand within the run.
  const step = within && within.axis > axis ? elementCount(dims.slice(within.axis + 1)) : inner;
  const stride = within ? elementCount(dims.slice(within.axis + 1)) : 1;
  for (let before = 0; before < outer; before += 1) {
    for (const index of indices) {
      const start = (before * size + index) * inner;
      for (let from = start; from < start + inner; from += step) {
        if (!within || inRange(Math.floor(from / stride) % (dims[within.axis] ?? 1), within)) yield [from, from + step];
      }
    }
  }
}

function inRange(position: number, { from, to }: { from: number; to: number }): boolean {
  return position >= from && position < to;
}

/** Multiplies an input by ones and, for what goes, zeros. */
function maskInput(scope: SurgeryScope, place: AnalyzedStructure['contractions'][number]): void {
  const node = scope.twins.node(place.node);
  const value = node.inputs[place.index];
  const track = scope.input(node, place.index)?.tracks.find(({ axis }) => axis === place.axis);
  const { graph } = node;
  if (!value || !track || !graph) return;
  const lists = keptRows(track, scope.removed).map((list) => new Set(list));
  const size = track.dims[track.axis] ?? 1;
  if (lists.every((list) => list.size === size) || track.rows.length > 0) return;
  const mask = Float32Array.from({ length: size }, (_, at) => Number(lists[0]?.has(at) ?? true));
  const constant = scope.store.declare(graph, `${value.name}_mask`, float32Tensor(track.dims, mask));
  const masked = scope.store.newValue(`${value.name}_masked`);
  const multiply = scope.store.newNode({ opType: 'Mul', inputs: [value, constant.value], outputs: [masked] }, `${node.name}_mask`);
  graph.insertBefore(node, multiply);
  node.setInput(place.index, masked);
}
