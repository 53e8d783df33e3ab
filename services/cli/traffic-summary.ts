/** Off-chip traffic of one inference in lines of text: a row per layer, and what it costs in all. */
import type { InspectedTraffic } from '#engine';
import { formatBytes, formatCount, formatMicrojoules, textTable } from './text-table.js';

const LAYERS_SHOWN = 40;

export function trafficSummary({ accelerator, layers, total }: InspectedTraffic): string[] {
  const shown = layers.slice(0, LAYERS_SHOWN);
  const cells = (name: string, each: Omit<typeof total, 'bytes'>): string[] => [
    name,
    ...[each.weight_bytes, each.input_bytes, each.output_bytes, each.refetch_bytes].map((bytes) => formatBytes(Math.round(bytes))),
    formatCount(each.macs),
    formatMicrojoules(each.dram_picojoules),
    formatMicrojoules(each.sram_picojoules),
    formatMicrojoules(each.compute_picojoules),
  ];
  return [
    `off-chip traffic of one inference on ${accelerator.title}, by model:`,
    textTable([
      ['layer', 'weights', 'read', 'written', 'again', 'MACs', 'DRAM', 'SRAM', 'compute'],
      ...shown.map((layer) => cells(layer.node, layer)),
      cells('all layers', total),
    ]),
    ...(layers.length > shown.length ? [`(${layers.length - shown.length} more layers with --json)`] : []),
    `in all ${formatBytes(Math.round(total.bytes))}, ${formatMicrojoules(total.dram_picojoules + total.sram_picojoules + total.compute_picojoules)}`,
  ];
}
