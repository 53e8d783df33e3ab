/** Off-chip traffic as text: a row per layer, the sums, and how many rows were left out. */
import { expect, it } from 'vitest';
import { trafficSummary } from '../../../services/cli/traffic-summary.js';
import { shippedProfile } from '../../../services/engine/accelerators/index.js';

const figures = {
  ...{ weight_bytes: 36_900, input_bytes: 524_000, output_bytes: 262_000, refetch_bytes: 0, macs: 75_497_472 },
  ...{ dram_picojoules: 132e6, sram_picojoules: 7.9e6, compute_picojoules: 121e6 },
};
const layers = (count: number) => Array.from({ length: count }, (_, index) => ({ node: `conv${index}`, op_type: 'Conv', ...figures }));

it('has a row per layer and one for all', () => {
  const [title, table, total] = trafficSummary({
    accelerator: shippedProfile('eyeriss-16'),
    layers: layers(2),
    total: { bytes: 822_900, ...figures },
  });
  expect(title).toBe('off-chip traffic of one inference on Eyeriss-like array, 16 bit, by model:');
  const rows = (table ?? '').split('\n').map((row) => row.split(/\s{2,}/));
  expect(rows.map(([name]) => name)).toEqual(['layer', 'conv0', 'conv1', 'all layers']);
  expect(rows[1]).toEqual(['conv0', '36.9 kB', '524 kB', '262 kB', '0 B', '75,497,472', '132 µJ', '7.90 µJ', '121 µJ']);
  expect(total).toBe('in all 823 kB, 261 µJ');
});

it('says how many layers it leaves to --json', () => {
  const lines = trafficSummary({ accelerator: shippedProfile('ethos-u'), layers: layers(45), total: { bytes: 1, ...figures } });
  expect(lines).toContain('(5 more layers with --json)');
});
