/** Structured pruning through the front door of the engine: an artifact, its report and the gate; int8 behind it in one recipe. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type CompressionPlan, type CompressResult, compress } from '../../../../services/engine/index.js';
import { decodeModelFile, encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';
import { float32Array, writeNpz } from '../../../support/write-npz.js';
import { fullWidths, mapSize, smallNetwork } from './small-network.js';

const SAMPLES = 64;
const values = Float32Array.from({ length: SAMPLES * 3 * mapSize ** 2 }, (_, at) => Math.sin(at * 12.9898) * Math.cos(at * 0.37));

async function compressed(plan: CompressionPlan): Promise<CompressResult> {
  const folder = await temporaryFolder();
  const [modelPath, calibration, scratch] = ['source.onnx', 'data.npz', 'scratch'].map((name) => join(folder, name));
  if (!modelPath || !calibration || !scratch) throw new Error('three paths');
  mkdirSync(scratch);
  encodeModelFile(smallNetwork(fullWidths), modelPath);
  await writeNpz(calibration, { x: float32Array([SAMPLES, 3, mapSize, mapSize], values) });
  return compress({ modelPath, plan, calibration, outDir: join(folder, 'out'), scratch, measureBudgetMs: 60, threads: 1 });
}

describe('a pruned artifact', () => {
  test('is smaller as promised, with the budget among the checks of the gate and a line for each layer', async () => {
    const { report, gatePassed, modelFiles } = await compressed({
      steps: [{ method: 'structured-pruning', budget: { macs: 0.6 }, round_to: 4, remove_branches: false }],
      objective: 'size',
    });
    expect(gatePassed).toBe(true);
    const kept = (report.artifact.macs ?? 1) / (report.source.macs ?? 1);
    expect(report.gate.checks).toContainEqual({ check: 'budget_macs', limit: 0.6, actual: kept, passed: true });
    expect(kept).toBeLessThanOrEqual(0.6);
    expect(report.artifact.parameters).toBeLessThan(report.source.parameters);
    const pruned = report.layers.filter(({ form }) => form.startsWith('pruned'));
    expect(pruned.length).toBeGreaterThan(0);
    for (const { bytes_before = 0, bytes_after = 0 } of pruned) expect(bytes_after).toBeLessThan(bytes_before);
    const [{ name, type } = { name: '', type: null }] = decodeModelFile(modelFiles[0] ?? '').graph.outputs;
    expect([name, type]).toEqual([
      smallNetwork(fullWidths).graph.outputs[0]?.name,
      { kind: 'tensor', dataType: 'float32', shape: [1, 10] },
    ]);
  });

  test('that misses its budget is rejected, and kept with the report', async () => {
    const { report, gatePassed, modelFiles } = await compressed({
      steps: [{ method: 'structured-pruning', budget: { macs: 0.2 }, max_removed: 0.2 }],
      objective: 'size',
    });
    expect(gatePassed).toBe(false);
    expect(report.gate.checks).toContainEqual(expect.objectContaining({ check: 'budget_macs', limit: 0.2, passed: false }));
    expect(modelFiles).toHaveLength(1);
  });

  test('goes on to int8 in the same recipe: both reports stand in one, and the file is smaller than by either', async () => {
    const half = { method: 'structured-pruning', budget: { macs: 0.6 } } as const;
    const [both, pruned, int8] = [
      await compressed({ steps: [half, { method: 'static-int8' }], objective: 'size' }),
      await compressed({ steps: [half], objective: 'size' }),
      await compressed({ steps: [{ method: 'static-int8' }], objective: 'size' }),
    ];
    expect(both.report.artifact.bytes).toBeLessThan(Math.min(pruned.report.artifact.bytes, int8.report.artifact.bytes));
    expect(new Set(both.report.nodes.map(({ by }) => by))).toContain('structured-pruning');
    expect(new Set(both.report.nodes.map(({ by }) => by))).toContain('static-int8');
    // Channels in blocks of the integer kernels, whatever the processor.
    for (const { form } of both.report.layers) {
      const width = /^pruned \d+ -> (\d+)$/.exec(form)?.[1];
      if (width !== undefined) expect(Number(width) % 16).toBe(0);
    }
  });
});
