/** The widths that a model file itself tells: its element types, and the table of narrower codes in its metadata. */
import { dataTypes, type Model } from '../ir/index.js';
import type { BitWidths } from './layer-sizes.js';

/** Metadata key of the table. */
export const BIT_TABLE_KEY = 'lathe.bits';

/** By name of the initializer or of the map (any of its names); JSON in the metadata of a model. */
export interface BitTable {
  /** Bits of the codes that are used, where a narrow range lies in a wider container. */
  readonly weights?: Readonly<Record<string, number>>;
  readonly maps?: Readonly<Record<string, number>>;
  /** Mean bits per value of maps coded without loss. */
  readonly compressed?: Readonly<Record<string, number>>;
}

/** Adds to the table that the model carries; entries of the same name are replaced. */
export function addToBitTable(model: Model, table: BitTable): void {
  const present = bitTableOf(model);
  const merged: BitTable = {
    weights: { ...present.weights, ...table.weights },
    maps: { ...present.maps, ...table.maps },
    compressed: { ...present.compressed, ...table.compressed },
  };
  model.metadata.set(BIT_TABLE_KEY, JSON.stringify(merged));
}

/** Empty when there is none, or when the text under its key is something else. */
export function bitTableOf(model: Model): BitTable {
  const text = model.metadata.get(BIT_TABLE_KEY);
  if (text === undefined) return {};
  try {
    const read: unknown = JSON.parse(text);
    return typeof read === 'object' && read !== null
      ? { weights: section(read, 'weights'), maps: section(read, 'maps'), compressed: section(read, 'compressed') }
      : {};
  } catch {
    return {};
  }
}

function section(read: object, name: string): Record<string, number> {
  const found: unknown = (read as Record<string, unknown>)[name];
  const entries = typeof found === 'object' && found !== null ? Object.entries(found) : [];
  return Object.fromEntries(
    entries.filter((entry): entry is [string, number] => typeof entry[1] === 'number' && entry[1] > 0 && entry[1] <= 64),
  );
}

/**
 * Widths as the model stores them: integers of 8 bits and less in the width of their type, maps behind a QuantizeLinear in the width of
 * its codes, and what the table says where that is narrower. Floats stay unnamed: they count as 16-bit words.
 */
export function widthsOf(model: Model): BitWidths {
  const table = bitTableOf(model);
  const weights = new Map<string, number>();
  const maps = new Map<string, number>();
  for (const [value, { dataType }] of model.graph.initializers)
    if (/^u?int/.test(dataType)) weights.set(value.name, dataTypes[dataType].bits);
  for (const node of model.graph.nodes) {
    const [output] = node.outputs;
    if (node.opType !== 'QuantizeLinear' || !output) continue;
    const zero = node.inputs[2] ? model.graph.initializers.get(node.inputs[2])?.dataType : undefined;
    const stated = output.type?.kind === 'tensor' ? output.type.dataType : null;
    maps.set(output.name, dataTypes[zero ?? stated ?? 'uint8'].bits);
  }
  for (const [name, bits] of Object.entries(table.weights ?? {})) weights.set(name, Math.min(bits, weights.get(name) ?? bits));
  for (const [name, bits] of Object.entries(table.maps ?? {})) maps.set(name, bits);
  return { weights, maps, compressed: new Map(Object.entries(table.compressed ?? {})) };
}
