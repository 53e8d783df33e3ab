/** From classes of slots to units, members and groups, and to the channels that stay. */
import type { Node } from '../../ir/index.js';
import { reportName } from '../../layers/weight-store.js';
import { looseUnits } from './lone-units.js';
import type { FrozenChannels, Member, PruningGroup, PruningUnit, UnitKind } from './pruning-structure.js';
import { rowsOf, type Settlement } from './settle.js';
import { FIXED } from './slot-classes.js';
import { type AnalyzedStructure, NO_UNIT, type ValueLayout } from './structure-layout.js';
import type { Carrier, RoleMark, StructureScope } from './structure-scope.js';
import type { Track } from './track.js';

const ALONE = 'nothing of its kind would be left';
const ANCHOR = 'it stays so that others of its stream can go, each of which has no equal';

/** The structure that `settlement` leaves free. Classes that nothing computes, as free axes of constants, are no units. */
export function groupUnits(scope: StructureScope, settlement: Settlement): AnalyzedStructure {
  const produced = new Set(scope.marks.filter(({ role }) => role === 'producer').flatMap(({ slots }) => rootsOf(scope, slots.ids)));
  const { usable, staying } = separate(scope, settlement, componentsOf(settlement, produced));
  const members = membersByClass(scope, rolesBySlot(scope));
  const unitOf = new Map<number, PruningUnit>();
  const groups = usable.map((parts) => {
    for (const root of parts.flat().sort((a, b) => a - b)) unitOf.set(root, { id: unitOf.size, members: members.get(root) ?? [] });
    return groupOf(scope, parts, unitOf);
  });
  return {
    model: scope.model,
    groups: named(groups),
    frozen: frozenChannels(scope, (root) => settlement.frozen.get(root) ?? staying.get(root)),
    layouts: layoutsOf(scope, unitOf),
    contractions: scope.contractions,
  };
}

/** Groups of which something can go, in the order in which the model makes them, and the classes that stay for lack of others. */
function separate(
  scope: StructureScope,
  settlement: Settlement,
  components: readonly number[][][],
): { usable: number[][][]; staying: Map<number, string> } {
  const usable = components.filter((parts) => parts.every((part) => part.length > 1));
  const lone = components.flatMap((parts) => (parts.length === 1 && parts[0]?.length === 1 ? parts[0] : []));
  const { groups, anchors } = looseUnits(scope, settlement, { lone, usable });
  const found = groups.filter((group) => group.length > 1);
  const free = new Set([...usable.flat(2), ...found.flat()]);
  const staying = new Map(
    components.flat(2).flatMap((root) => (free.has(root) ? [] : [[root, anchors.has(root) ? ANCHOR : ALONE] as const])),
  );
  return { usable: [...usable, ...found.map((group) => [[...group]])].sort((a, b) => (a[0]?.[0] ?? 0) - (b[0]?.[0] ?? 0)), staying };
}

function rootsOf(scope: StructureScope, ids: Int32Array): number[] {
  return [...new Set(Array.from(ids, (id) => scope.classes.find(id)))].filter((root) => root !== FIXED);
}

/** Classes by kind, kinds that must go in equal numbers together; in the order in which the model makes them. */
function componentsOf({ atoms, ties }: Settlement, produced: ReadonlySet<number>): number[][][] {
  const byKey = new Map<string, number[]>();
  for (const [root, key] of atoms) if (produced.has(root)) byKey.set(key, [...(byKey.get(key) ?? []), root]);
  let components = [...byKey.keys()].map((key) => [key]);
  for (const tie of ties) {
    const touched = components.filter((keys) => keys.some((key) => tie.includes(key)));
    if (touched.length > 1) components = [...components.filter((keys) => !touched.includes(keys)), touched.flat()];
  }
  const parts = components.map((keys) => keys.map((key) => (byKey.get(key) ?? []).sort((a, b) => a - b)));
  const first = (part: readonly number[] | undefined): number => part?.[0] ?? 0;
  for (const each of parts) each.sort((a, b) => first(a) - first(b));
  return parts.sort((a, b) => first(a[0]) - first(b[0]));
}

function rolesBySlot(scope: StructureScope): Map<number, RoleMark[]> {
  const roles = new Map<number, RoleMark[]>();
  for (const mark of scope.marks) {
    for (const id of new Set(mark.slots.ids)) {
      const known = roles.get(id);
      if (known) known.push(mark);
      else roles.set(id, [mark]);
    }
  }
  return roles;
}

function groupOf(scope: StructureScope, parts: readonly (readonly number[])[], unitOf: ReadonlyMap<number, PruningUnit>): PruningGroup {
  const roots = parts.flat().sort((a, b) => a - b);
  const units = roots.flatMap((root) => unitOf.get(root) ?? []);
  const inGroup = new Set(roots);
  const touching = scope.marks.filter(({ slots }) => slots.ids.some((id) => inGroup.has(scope.classes.find(id))));
  const nodesOf = (role: Member['role']): Node[] => [...new Set(touching.flatMap((mark) => (mark.role === role ? [mark.node] : [])))];
  const producers = nodesOf('producer');
  const approximate = [...scope.approximate].find(([slot]) => inGroup.has(scope.classes.find(slot)))?.[1];
  return {
    id: producers[0] ? reportName(producers[0]) : '',
    kind: kindOf(scope, inGroup, producers[0]),
    units,
    producers,
    consumers: nodesOf('consumer'),
    parts: parts.map((part) => part.map((root) => roots.indexOf(root))),
    ...(approximate === undefined ? {} : { approximate }),
  };
}

const recurrentOperators: ReadonlySet<string> = new Set(['LSTM', 'GRU', 'RNN']);

function kindOf(scope: StructureScope, roots: ReadonlySet<number>, producer: Node | undefined): UnitKind {
  const marked = [...scope.kinds].find(([slot]) => roots.has(scope.classes.find(slot)))?.[1];
  if (marked) return marked;
  if (producer && recurrentOperators.has(producer.opType)) return 'hidden';
  return producer?.opType.includes('Conv') ? 'channels' : 'features';
}

/** Groups of one producer are told apart by a number. */
function named(groups: readonly PruningGroup[]): PruningGroup[] {
  const seen = new Map<string, number>();
  return groups.map((group) => {
    const count = (seen.get(group.id) ?? 0) + 1;
    seen.set(group.id, count);
    return count === 1 ? group : { ...group, id: `${group.id} (${count})` };
  });
}

function membersByClass(scope: StructureScope, roles: ReadonlyMap<number, readonly RoleMark[]>): Map<number, Member[]> {
  const members = new Map<number, Member[]>();
  for (const carrier of scope.all()) {
    if (!carrier.constant) continue;
    for (const track of scope.tracks(carrier)) {
      for (const slice of slicesOf(scope, track)) {
        for (const reading of readingsOf(carrier, roles.get(slice.slot) ?? [])) {
          const { root, slot: _slot, ...place } = slice;
          const member = { constant: carrier.value, axis: track.axis, ...place, ...reading };
          const known = members.get(root);
          if (known) known.push(member);
          else members.set(root, [member]);
        }
      }
    }
  }
  return members;
}

/** Who reads the slices, and what for: each role that a node has given them, or else the first reader's parameter. */
function readingsOf({ value, use }: Carrier, marks: readonly RoleMark[]): Pick<Member, 'node' | 'role'>[] {
  const own = marks.filter(({ node }) => !use || use.node === node);
  const readings = (own.length > 0 ? own : marks).map(({ node, role }) => ({ node, role }));
  if (readings.length > 0)
    return readings.filter(({ node, role }, at) => readings.findIndex((each) => each.node === node && each.role === role) === at);
  const node = use?.node ?? value.consumers[0];
  return node ? [{ node, role: 'parameter' }] : [];
}

interface Slice extends Pick<Member, 'indices' | 'within'> {
  readonly root: number;
  /** Of the slots of the class here, the first. */
  readonly slot: number;
}

/** The indices of each class along the axis, in runs of rows that have the same. */
function slicesOf(scope: StructureScope, track: Track): Slice[] {
  const rows = rowsOf(track);
  const [axis] = track.rows;
  const runs: { key: string; from: number; to: number; byRoot: Map<number, number[]>; row: Int32Array }[] = [];
  for (const [at, row] of rows.entries()) {
    const key = row.join();
    const last = runs.at(-1);
    if (last?.key === key) last.to = at + 1;
    else runs.push({ key, from: at, to: at + 1, byRoot: indicesByRoot(scope, row), row });
  }
  return runs.flatMap(({ from, to, byRoot, row }) =>
    [...byRoot].map(([root, indices]) => ({
      root,
      slot: row[indices[0] ?? 0] ?? FIXED,
      indices,
      ...(axis === undefined ? {} : { within: { axis, from, to } }),
    })),
  );
}

function indicesByRoot(scope: StructureScope, row: Int32Array): Map<number, number[]> {
  const byRoot = new Map<number, number[]>();
  for (const [index, id] of row.entries()) {
    const root = scope.classes.find(id);
    if (root === FIXED) continue;
    const known = byRoot.get(root);
    if (known) known.push(index);
    else byRoot.set(root, [index]);
  }
  return byRoot;
}

/** One entry for each producer and reason. */
function frozenChannels(scope: StructureScope, reasonOf: (root: number) => string | undefined): FrozenChannels[] {
  return scope.marks.flatMap(({ node, role, output, slots }) => {
    if (role !== 'producer' || !output) return [];
    const roots = rootsOf(scope, slots.ids);
    const reasons = new Map<string, number>();
    for (const root of roots) {
      const reason = reasonOf(root);
      if (reason !== undefined) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    return [...reasons].map(([reason, count]) => ({
      ...{ node, value: output.value, axis: output.axis },
      reason: count === roots.length ? reason : `${count} of ${roots.length}: ${reason}`,
    }));
  });
}

function layoutsOf(scope: StructureScope, unitOf: ReadonlyMap<number, PruningUnit>): ValueLayout[] {
  return [...scope.all()].map((carrier) => {
    const tracks = scope.tracks(carrier).map(({ axis, rows, slots }) => ({
      ...{ axis, rows, dims: slots.dims },
      units: slots.ids.map((id) => unitOf.get(scope.classes.find(id))?.id ?? NO_UNIT),
    }));
    const live = tracks.filter(({ units }) => units.some((unit) => unit !== NO_UNIT));
    const { value, use, dims, constant } = carrier;
    return { value, dims, constant, tracks: live, ...(use ? { use } : {}) };
  });
}
