/** Off-chip traffic of source and artifact on an accelerator, for the first sample. */
import {
  type AcceleratorProfile,
  networkLayers,
  offChipTraffic,
  type Traffic,
  type TrafficTotals,
  widthsOf,
} from '../accelerators/index.js';
import type { Model } from '../ir/index.js';
import type { Measurements, ValueShapes } from './measure.js';

export interface TrafficComparison {
  readonly accelerator: AcceleratorProfile;
  /** Floats as 16-bit words. null where the sizes of the maps could not be told. */
  readonly source: Traffic | null;
  readonly artifact: Traffic | null;
  /** 1 - artifact / source, of the energy of DRAM, and of DRAM, SRAM and multiplications together. */
  readonly dram_saved: number | null;
  readonly energy_saved: number | null;
  /** Sentences about what is not counted. */
  readonly warnings: readonly string[];
}

export interface ComparedModels {
  readonly source: Model;
  readonly artifact: Model;
  readonly measurements: Pick<Measurements, 'sourceShapes' | 'artifactShapes'>;
}

export function compareTraffic(accelerator: AcceleratorProfile, { source, artifact, measurements }: ComparedModels): TrafficComparison {
  const [before, after] = [
    trafficOf(accelerator, source, measurements.sourceShapes),
    trafficOf(accelerator, artifact, measurements.artifactShapes),
  ];
  const saved = (figure: (total: TrafficTotals) => number): number | null =>
    before && after ? 1 - figure(after.traffic.total) / figure(before.traffic.total) : null;
  return {
    accelerator,
    source: before?.traffic ?? null,
    artifact: after?.traffic ?? null,
    dram_saved: saved(({ dram_picojoules }) => dram_picojoules),
    energy_saved: saved(energyOf),
    warnings: [...new Set([...(before?.warnings ?? []), ...(after?.warnings ?? [])])],
  };
}

/** Picojoule of an inference: memory, buffers and multiplications. */
export function energyOf({ dram_picojoules, sram_picojoules, compute_picojoules }: TrafficTotals): number {
  return dram_picojoules + sram_picojoules + compute_picojoules;
}

/** With the widths that the file tells. */
export function trafficOf(
  accelerator: AcceleratorProfile,
  model: Model,
  shapes: ValueShapes | null,
): { readonly traffic: Traffic; readonly warnings: readonly string[] } | null {
  if (!shapes) return null;
  const network = networkLayers(model, shapes);
  return { traffic: offChipTraffic(network, accelerator, widthsOf(model)), warnings: network.warnings };
}
