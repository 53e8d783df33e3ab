/** Bytes that an inference moves between an accelerator and its memory, and what that costs. docs/decisions/0012-off-chip-traffic.md */
import { fusedGroups } from './fused-rows.js';
import { mapsKeptOnChip } from './kept-maps.js';
import { type BitWidths, LayerSizes } from './layer-sizes.js';
import type { FeatureMap, NetworkLayer, NetworkLayers } from './network-layers.js';
import { type AcceleratorProfile, multiplyPicojoules } from './profile.js';
import { refetchedBytes } from './refetch.js';

export interface LayerTraffic {
  readonly node: string;
  readonly op_type: string;
  readonly weight_bytes: number;
  readonly input_bytes: number;
  readonly output_bytes: number;
  /** What is read a second time or more, because it did not fit. */
  readonly refetch_bytes: number;
  readonly macs: number;
  readonly dram_picojoules: number;
  readonly sram_picojoules: number;
  readonly compute_picojoules: number;
}

export type TrafficTotals = Omit<LayerTraffic, 'node' | 'op_type'> & {
  /** Weights, inputs, outputs and what is fetched again. */
  readonly bytes: number;
};

export interface Traffic {
  readonly layers: readonly LayerTraffic[];
  readonly total: TrafficTotals;
}

/**
 * One inference of `network` (from networkLayers) on `profile` with tensors of the given widths. Pure, and linear in the number of
 * layers except for the search of fused groups, so that it may be the energy function of a search.
 */
export function offChipTraffic(network: NetworkLayers, profile: AcceleratorProfile, widths: BitWidths): Traffic {
  const sizes = new LayerSizes(profile, widths);
  const inside = mapsOnChip(network, profile, sizes);
  const layers = network.layers.map((layer) => layerTraffic(layer, { profile, sizes, inside }));
  return { layers, total: totals(layers) };
}

interface OnChip {
  /** Maps that never leave the chip. */
  readonly maps: ReadonlySet<FeatureMap>;
  /** Layers whose weights and rows are resident, so that nothing is fetched again. */
  readonly layers: ReadonlySet<NetworkLayer>;
}

function mapsOnChip(network: NetworkLayers, profile: AcceleratorProfile, sizes: LayerSizes): OnChip {
  const { dataflow } = profile;
  if (dataflow.kind === 'fused-rows') return fusedGroups(network, profile, sizes);
  const keeps = dataflow.kind === 'layer-by-layer' && dataflow.keeps_maps === true;
  return { maps: keeps ? mapsKeptOnChip(network, profile, sizes) : new Set(), layers: new Set() };
}

interface Setting {
  readonly profile: AcceleratorProfile;
  readonly sizes: LayerSizes;
  readonly inside: OnChip;
}

function layerTraffic(layer: NetworkLayer, { profile, sizes, inside }: Setting): LayerTraffic {
  const { node, op_type, macs } = layer;
  const moved = (maps: readonly FeatureMap[]): number =>
    maps.reduce((sum, map) => sum + (inside.maps.has(map) ? 0 : sizes.transferred(map)), 0);
  const kept = [...layer.inputs, ...layer.outputs].filter((map) => inside.maps.has(map));
  const weight_bytes = sizes.weights(layer);
  const input_bytes = moved(layer.inputs);
  const output_bytes = moved(layer.outputs);
  const refetch_bytes = inside.layers.has(layer) ? 0 : refetchedBytes(layer, { profile, sizes, input_bytes });
  const bytes = weight_bytes + input_bytes + output_bytes + refetch_bytes;
  /** What is fetched is written to the buffer and read from it (outputs the other way round); a map that is kept passes once on each side. */
  const sramBytes = 2 * bytes + kept.reduce((sum, map) => sum + sizes.held(map), 0);
  return {
    node,
    op_type,
    weight_bytes,
    input_bytes,
    output_bytes,
    refetch_bytes,
    macs,
    dram_picojoules: bytes * profile.picojoules.dram_byte,
    sram_picojoules: sramBytes * profile.picojoules.sram_byte,
    compute_picojoules: macs * multiplyPicojoules(profile, sizes.operandBits(layer)),
  };
}

function totals(layers: readonly LayerTraffic[]): TrafficTotals {
  const sum = (figure: keyof Omit<LayerTraffic, 'node' | 'op_type'>): number => layers.reduce((total, layer) => total + layer[figure], 0);
  const [weight_bytes, input_bytes, output_bytes, refetch_bytes] = [
    sum('weight_bytes'),
    sum('input_bytes'),
    sum('output_bytes'),
    sum('refetch_bytes'),
  ];
  return {
    bytes: weight_bytes + input_bytes + output_bytes + refetch_bytes,
    weight_bytes,
    input_bytes,
    output_bytes,
    refetch_bytes,
    macs: sum('macs'),
    dram_picojoules: sum('dram_picojoules'),
    sram_picojoules: sum('sram_picojoules'),
    compute_picojoules: sum('compute_picojoules'),
  };
}
