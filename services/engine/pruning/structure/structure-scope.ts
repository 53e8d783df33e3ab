/** What the rules of the operators read and write: slots of values, unions, reasons to stay, roles of constants. */
import { type DataType, dataTypes, elementCount, type Graph, type Model, type Node, type Tensor, type Value } from '../../ir/index.js';
import { capturedValues, declaredValues, graphsWithin } from '../../ir/traversal.js';
import { reportName, WeightStore } from '../../layers/weight-store.js';
import { ModelFacts } from '../../passes/model-facts.js';
import type { Member } from './pruning-structure.js';
import { FIXED, SlotClasses } from './slot-classes.js';
import { alongAxis, eachAlong, eachPair, type SlotTensor } from './slot-tensor.js';
import { axesOf, settled, type Track } from './track.js';

/** A value, or one reading of a constant that other readers may read with other indices. */
export interface Carrier {
  readonly value: Value;
  /** Set for one reading of a constant; a value has the same slots for all its readers. */
  readonly use?: { readonly node: Node; readonly index: number };
  readonly dims: readonly number[];
  readonly constant: Tensor | undefined;
  /** Takes the slots of whatever it is combined with: a constant, or a value whose elements are all equal. */
  isPliant: boolean;
  tracks: Track[];
  /** Axes of a pliant carrier that must keep their size, with the reason. */
  readonly pinned: Map<number, string>;
}

/** What a node does with slots, said of the constants that hold them. */
export interface RoleMark {
  readonly node: Node;
  readonly role: Member['role'];
  /** For producers: where the units stand in what the node computes. */
  readonly output?: { readonly value: Value; readonly axis: number };
  readonly slots: SlotTensor;
}

/** Input `index` of `node` is summed over `axis` without a constant whose elements could be zeroed instead. */
export interface Contraction {
  readonly node: Node;
  readonly index: number;
  readonly axis: number;
}

/** Types whose elements fill whole bytes, so that slices can be copied. */
function isSliceable(dataType: DataType): boolean {
  return dataTypes[dataType].bits >= 8;
}

export class StructureScope {
  readonly classes = new SlotClasses();
  readonly facts: ModelFacts;
  /** Why slots stay: the first reason for each. */
  readonly frozen = new Map<number, string>();
  readonly approximate = new Map<number, string>();
  readonly marks: RoleMark[] = [];
  readonly contractions: Contraction[] = [];
  /** Slots that several positions of an axis must lose in equal numbers, although no value shows it. */
  readonly balances: Track[] = [];
  /** Slots whose units are heads or groups, whatever makes them. */
  readonly kinds = new Map<number, 'heads' | 'groups'>();
  /** Run when everything is united: what can only be judged then. */
  readonly obligations: (() => void)[] = [];
  private readonly store: WeightStore;
  /** Observed sizes by the symbols of the facts. */
  private readonly sizes = new Map<string, number>();
  private readonly carriers = new Map<Value, Carrier>();
  private readonly uses = new Map<Node, Carrier[]>();

  constructor(
    readonly model: Model,
    private readonly shapes: ReadonlyMap<string, readonly number[]>,
    private readonly visit: (node: Node, scope: StructureScope) => void,
  ) {
    this.facts = new ModelFacts(model);
    this.facts.refresh();
    this.store = new WeightStore(model);
    for (const { value, tensor } of this.store.all()) this.carriers.set(value, carrierOf(value, tensor.dims, tensor));
    this.bindSizes();
  }

  /** What was observed tells the open sizes that the model states of other values: those of branches that were not taken. */
  private bindSizes(): void {
    for (const graph of graphsWithin(this.model.graph)) {
      for (const value of declaredValues(graph)) {
        const observed = this.shapes.get(value.name);
        const stated = this.facts.shape(value);
        if (observed?.length !== stated?.length) continue;
        for (const [axis, size] of (stated ?? []).entries()) if (typeof size === 'string') this.sizes.set(size, observed?.[axis] ?? 0);
      }
    }
  }

  constant(value: Value | null | undefined): Tensor | undefined {
    return this.store.constant(value)?.tensor;
  }

  rank(value: Value): number | undefined {
    return this.dims(value)?.length ?? this.facts.shape(value)?.length;
  }

  /** True for what a graph returns. */
  isReturned(value: Value): boolean {
    return this.store.isGraphOutput(value);
  }

  /** Applies the rules of the nodes of a graph, in order. */
  walk(graph: Graph): void {
    for (const node of graph.nodes) this.visit(node, this);
  }

  dims(value: Value | null | undefined): readonly number[] | undefined {
    if (!value) return undefined;
    const known = this.carriers.get(value)?.dims ?? this.shapes.get(value.name);
    if (known) return known;
    const sizes = this.facts.shape(value)?.map((size) => (typeof size === 'number' ? size : this.sizes.get(size)));
    return sizes?.every((size) => size !== undefined) ? sizes : undefined;
  }

  /** Every value and reading that has slots. */
  *all(): Generator<Carrier> {
    yield* this.carriers.values();
    for (const carriers of this.uses.values()) yield* carriers;
  }

  /** The carrier of input `index`, one for all readers; undefined when it is omitted or its sizes are unknown. */
  input(node: Node, index: number): Carrier | undefined {
    const value = node.inputs[index];
    return value ? this.carrier(value) : undefined;
  }

  /** As `input`, but a constant is this reader's own: others may lose other indices, and get a copy then. */
  parameter(node: Node, index: number): Carrier | undefined {
    const shared = this.input(node, index);
    if (!shared?.constant) return shared;
    const known = this.uses.get(node)?.find(({ use }) => use?.index === index);
    if (known) return known;
    const own = { ...carrierOf(shared.value, shared.dims, shared.constant), use: { node, index } };
    this.uses.set(node, [...(this.uses.get(node) ?? []), own]);
    return own;
  }

  /** The carrier of a value; undefined when its sizes are neither known nor `inferred`. */
  carrier(value: Value, inferred?: readonly number[]): Carrier | undefined {
    const known = this.carriers.get(value);
    if (known) return known;
    const dims = this.dims(value) ?? inferred;
    if (!dims) return undefined;
    const made = carrierOf(value, dims, undefined);
    this.carriers.set(value, made);
    return made;
  }

  /** The tracks of a carrier as they are now, one for each axis. */
  tracks(carrier: Carrier): readonly Track[] {
    const tracks: Track[] = [];
    for (const track of carrier.tracks) {
      const now = settled(track, this.classes);
      const same = tracks.find(({ axis }) => axis === now.axis);
      if (!same) tracks.push(now);
      else if (same.slots.ids !== now.slots.ids) this.unite(same.slots, now.slots, 'they go together with channels that stay');
    }
    carrier.tracks = tracks;
    return tracks;
  }

  track(carrier: Carrier, axis: number): Track | undefined {
    return this.tracks(carrier).find((track) => track.axis === axis);
  }

  /**
   * Gives the output of a node its slots. Sizes that do not fit what was observed freeze them. `dims`: what follows from the operands,
   * for a value that was not observed.
   */
  set(value: Value | null | undefined, tracks: readonly Track[], dims?: readonly number[]): void {
    const carrier = value ? this.carrier(value, dims) : undefined;
    for (const track of tracks) {
      const fits = carrier && axesOf(track).every((axis) => track.slots.dims[axis] === carrier.dims[axis]);
      if (!fits && value) this.freeze(track.slots, `the shape of "${value.name}" is not known`);
      if (!fits) continue;
      // An axis must not become empty: what stands there alone stays.
      if ((carrier.dims[track.axis] ?? 1) > 1) carrier.tracks.push(track);
      else this.freeze(track.slots, `it is all there is of "${carrier.value.name}"`);
    }
  }

  /** New slots for one axis, which nothing else has yet. */
  fresh(size: number, axis: number, rank: number): Track {
    return { axis, rows: [], slots: alongAxis(this.classes.make(size), axis, rank) };
  }

  /** The slots of one axis, whatever row they stand in; a pliant carrier gets slots when it has none. */
  single(carrier: Carrier, axis: number): Track | undefined {
    for (const track of this.tracks(carrier)) {
      if (!axesOf(track).includes(axis)) continue;
      for (const other of axesOf(track)) if (other !== axis) this.uniteAlong(track.slots, other);
    }
    const present = this.track(carrier, axis);
    if (present || !carrier.isPliant || (carrier.dims[axis] ?? 1) === 1) return present;
    const made = this.fresh(carrier.dims[axis] ?? 1, axis, carrier.dims.length);
    this.adopt(carrier, made);
    return made;
  }

  /** Gives a pliant carrier a track that it had not. */
  adopt(carrier: Carrier, track: Track): void {
    for (const axis of axesOf(track)) {
      const pinned = carrier.pinned.get(axis);
      if (pinned && axis === track.axis) this.freeze(track.slots, pinned);
    }
    if (carrier.constant && !isSliceable(carrier.constant.dataType))
      this.freeze(track.slots, `its constant "${carrier.value.name}" is packed ${carrier.constant.dataType}`);
    carrier.tracks.push(track);
  }

  unite(left: SlotTensor, right: SlotTensor, why: string): void {
    eachPair(left, right, (a, b) => {
      if (a !== FIXED && b !== FIXED) this.classes.union(a, b);
      else this.freezeSlot(a === FIXED ? b : a, why);
    });
  }

  /** The indices along `axis` become one class, at each position of the other axes. */
  uniteAlong(slots: SlotTensor, axis: number): void {
    eachAlong(slots, axis, (first, other) => {
      if (first !== FIXED && other !== FIXED) this.classes.union(first, other);
      else this.freezeSlot(first === FIXED ? other : first, 'they go together with channels that stay');
    });
  }

  freeze({ ids }: SlotTensor, why: string): void {
    for (const id of ids) this.freezeSlot(id, why);
  }

  private freezeSlot(slot: number, why: string): void {
    if (slot !== FIXED && !this.frozen.has(slot)) this.frozen.set(slot, why);
  }

  /** Marks slots whose going changes what the others compute. */
  approximates({ ids }: SlotTensor, why: string): void {
    for (const id of ids) if (id !== FIXED && !this.approximate.has(id)) this.approximate.set(id, why);
  }

  /** Freezes what depends on the axes (all when not given) and keeps pliant carriers from getting slots there. */
  pin(carrier: Carrier | undefined, why: string, axes?: readonly number[]): void {
    if (!carrier) return;
    for (const track of this.tracks(carrier)) if (!axes || axesOf(track).some((axis) => axes.includes(axis))) this.freeze(track.slots, why);
    if (!carrier.isPliant) return;
    for (const axis of axes ?? carrier.dims.keys()) if (!carrier.pinned.has(axis)) carrier.pinned.set(axis, why);
  }

  /** Everything that a node reads keeps its size. */
  barrier(node: Node, why: string): void {
    for (const index of node.inputs.keys()) this.pin(this.parameter(node, index), why);
    if (node.attributes.size > 0) for (const value of capturedValues(node)) this.pin(this.carrier(value), why);
  }

  mark(mark: Omit<RoleMark, 'slots'>, track: Track | undefined): void {
    if (track) this.marks.push({ ...mark, slots: track.slots });
  }
}

function carrierOf(value: Value, dims: readonly number[], constant: Tensor | undefined): Carrier {
  return { value, dims, constant, isPliant: constant !== undefined, tracks: [], pinned: new Map() };
}

/** The node as sentences name it. */
export function titleOf(node: Node): string {
  return `${node.opType} "${reportName(node)}"`;
}

/** Elements of a carrier along no axis at all. */
export function isScalar({ dims }: Carrier): boolean {
  return elementCount(dims) === 1;
}
