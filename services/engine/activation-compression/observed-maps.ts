/** Which value of a model shows the codes of a map, and a copy of the model that gives these values out. */
import { bitTableOf, type FeatureMap, type NetworkLayers } from '../accelerators/index.js';
import { cloneModel, type DataType, type Model, type Tensor, type Value } from '../ir/index.js';

export interface ObservedMap {
  readonly map: FeatureMap;
  /** The layer that makes it; the name of the input for an input of the network. */
  readonly node: string;
  /** Value to read: the codes of a QuantizeLinear where there is one; of views the last, the order in which the map lies in memory. */
  readonly value: string;
  /** Code of zero, where the codes are given by the model. */
  readonly zero: number | null;
  /** Bits of the codes that are used, where the model says that they are fewer than the type has. */
  readonly usedBits: number | null;
}

/** Every map of the network; what runs shows which of them hold floats or codes. */
export function observedMaps(model: Model, { layers, maps }: NetworkLayers): readonly ObservedMap[] {
  const values = new Map(
    [...model.graph.inputs, ...model.graph.nodes.flatMap(({ outputs }) => outputs)].flatMap((value) =>
      value ? [[value.name, value] as const] : [],
    ),
  );
  const table = bitTableOf(model).maps ?? {};
  return maps.map((map) => {
    const [name = ''] = map.names;
    const forms = map.names.flatMap((each) => values.get(each) ?? []);
    const quantized = forms.findLast(({ producer }) => producer?.opType === 'QuantizeLinear');
    const asWritten = model.graph.inputs.some((input) => input.name === name) ? name : (forms.at(-1)?.name ?? name);
    return {
      map,
      node: layers.find(({ outputs }) => outputs.includes(map))?.node ?? name,
      value: quantized?.name ?? asWritten,
      zero: quantized ? zeroOf(model, quantized) : null,
      usedBits: map.names.flatMap((each) => table[each] ?? [])[0] ?? null,
    };
  });
}

/** Zero points of signed codes are moved as the codes are: the lowest code is 0. */
function zeroOf(model: Model, { producer }: Value): number {
  const point = producer?.inputs[2] ? model.graph.initializers.get(producer.inputs[2]) : undefined;
  return point ? (codesOf(point)?.codes[0] ?? 0) : 0;
}

const lowest: Partial<Record<DataType, number>> = { uint8: 0, int8: -(2 ** 7), uint16: 0, int16: -(2 ** 15) };

/** The elements of a quantized tensor counted from the lowest code of its type, and the bits of the type; undefined for other types. */
export function codesOf({ dataType, data }: Tensor): { readonly codes: Int32Array; readonly bits: number } | undefined {
  const low = lowest[dataType];
  if (low === undefined) return undefined;
  const bytes = data.read();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = dataType.endsWith('16');
  const read = {
    uint8: (at: number) => view.getUint8(at),
    int8: (at: number) => view.getInt8(at),
    uint16: (at: number) => view.getUint16(2 * at, true),
    int16: (at: number) => view.getInt16(2 * at, true),
  }[dataType as 'uint8' | 'int8' | 'uint16' | 'int16'];
  return { codes: Int32Array.from({ length: bytes.byteLength / (wide ? 2 : 1) }, (_, at) => read(at) - low), bits: wide ? 16 : 8 };
}

/** A copy with the values as outputs besides its own. */
export function modelThatShows(model: Model, maps: readonly ObservedMap[]): Model {
  const copy = cloneModel(model);
  const wanted = new Set(maps.map(({ value }) => value));
  for (const node of copy.graph.nodes) {
    for (const output of node.outputs)
      if (output && wanted.has(output.name) && !copy.graph.isOutput(output)) copy.graph.outputs.push(output);
  }
  return copy;
}
