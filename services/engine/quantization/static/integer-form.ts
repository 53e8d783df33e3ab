/** Which part of a model computes on codes: units closed under the rules of the runtime, and the tensors between them. */
import type { Graph, Value } from '../../ir/index.js';
import type { IntegerUnit } from './integer-units.js';

/** How a dense layer gives its result: codes for integer readers, or float straight from the accumulators. */
export type OutputForm = 'codes' | 'float';

export interface IntegerForm {
  /** In graph order. */
  readonly units: readonly IntegerUnit[];
  readonly forms: ReadonlyMap<IntegerUnit, OutputForm>;
  /** Tensors that exist as codes. */
  readonly coded: ReadonlySet<Value>;
}

/**
 * The largest set of `units` in which every operator between layers has integer layers on both sides: a float neighbour
 * would cost a conversion that the operator cannot earn back (onnxruntime.md 1.3).
 */
export function integerForm(graph: Graph, units: readonly IntegerUnit[], ranks: ReadonlyMap<string, number>): IntegerForm {
  const byOutput = new Map(units.map((unit) => [unit.output, unit]));
  const readers = readersByInput(units);
  let kept = new Set(units);
  for (let size = -1; size !== kept.size; ) {
    size = kept.size;
    const givesCodes = (unit: IntegerUnit): boolean => unit.layer?.kind === 'conv' || isMatrixProduct(unit, ranks);
    const fed = reachable([...kept].filter(givesCodes), (unit) => followers(unit.output, readers, kept));
    const wanted = reachable([...kept].filter(isLayer), (unit) =>
      unit.inputs
        .map((input) => byOutput.get(input))
        .filter((producer) => producer !== undefined && kept.has(producer) && !isLayer(producer)),
    );
    kept = new Set([...kept].filter((unit) => isLayer(unit) || (fed.has(unit) && wanted.has(unit) && keepsCodes(unit, byOutput, kept))));
  }
  const chosen = units.filter((unit) => kept.has(unit));
  const forms = new Map(chosen.map((unit) => [unit, outputForm(graph, unit, { readers, kept, ranks })] as const));
  const coded = new Set<Value>();
  for (const unit of chosen) {
    for (const input of unit.inputs) coded.add(input);
    if (forms.get(unit) === 'codes') coded.add(unit.output);
  }
  return { units: chosen, forms, coded };
}

/** A product of matrices has an integer kernel with a bias and 8-bit results; one over stacks of them gives float. True while nothing is known. */
function isMatrixProduct({ layer }: IntegerUnit, ranks: ReadonlyMap<string, number>): boolean {
  return layer?.kind === 'dense' && (ranks.get(layer.activation.name) ?? 2) === 2;
}

function isLayer(unit: IntegerUnit): boolean {
  return unit.role === 'layer';
}

function readersByInput(units: readonly IntegerUnit[]): ReadonlyMap<Value, readonly IntegerUnit[]> {
  const readers = new Map<Value, IntegerUnit[]>();
  for (const unit of units) for (const input of unit.inputs) readers.set(input, [...(readers.get(input) ?? []), unit]);
  return readers;
}

type Readers = ReturnType<typeof readersByInput>;

function followers(output: Value, readers: Readers, kept: ReadonlySet<IntegerUnit>): IntegerUnit[] {
  return (readers.get(output) ?? []).filter((reader) => kept.has(reader) && !isLayer(reader));
}

/** Everything that `next` leads to from `starts`, the starts included. */
function reachable(starts: readonly IntegerUnit[], next: (unit: IntegerUnit) => readonly (IntegerUnit | undefined)[]): Set<IntegerUnit> {
  const seen = new Set(starts);
  const pending = [...starts];
  for (let unit = pending.pop(); unit; unit = pending.pop()) {
    for (const neighbour of next(unit)) {
      if (!neighbour || seen.has(neighbour)) continue;
      seen.add(neighbour);
      pending.push(neighbour);
    }
  }
  return seen;
}

/** A mover must get codes from an integer operator: it has no parameters of its own to make them with. */
function keepsCodes(unit: IntegerUnit, byOutput: ReadonlyMap<Value, IntegerUnit>, kept: ReadonlySet<IntegerUnit>): boolean {
  if (unit.role !== 'same-range') return true;
  return unit.inputs.every((input) => {
    const producer = byOutput.get(input);
    return producer !== undefined && kept.has(producer);
  });
}

/** Convolutions and the operators between layers have no float output; a dense layer has one, which rounds less. */
function outputForm(
  graph: Graph,
  unit: IntegerUnit,
  { readers, kept, ranks }: { readers: Readers; kept: ReadonlySet<IntegerUnit>; ranks: ReadonlyMap<string, number> },
): OutputForm {
  if (unit.layer?.kind !== 'dense') return 'codes';
  const isReadAsCodes = (readers.get(unit.output) ?? []).some((reader) => kept.has(reader));
  return isMatrixProduct(unit, ranks) && isReadAsCodes && !graph.isOutput(unit.output) ? 'codes' : 'float';
}
