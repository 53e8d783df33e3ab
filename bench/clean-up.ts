/**
 * Clean-up of real models: nodes, bytes, largest difference of the outputs and interleaved latency, before and after.
 * Prints one JSON line per file. Run: node --import tsx bench/clean-up.ts [FILE...]
 * Without files it takes every .onnx below LATHE_DATA (default ../shared/data).
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { cloneModel } from '../services/engine/ir/clone-model.js';
import { elementReaders } from '../services/engine/ir/element-access.js';
import { dataTypes, type Model, type Tensor } from '../services/engine/ir/index.js';
import { graphsWithin } from '../services/engine/ir/traversal.js';
import { decodeModelFile, encodeModelFile } from '../services/engine/onnx/index.js';
import { cleanUp } from '../services/engine/passes/index.js';
import { measureLatencies } from '../services/engine/runtime/benchmark.js';
import { describeCpu } from '../services/engine/runtime/cpu.js';
import { createOrtRuntime } from '../services/engine/runtime/ort-session.js';
import { findSampleInputs, type SampleMaker } from '../services/engine/runtime/sample-inputs.js';

const scratch = mkdtempSync(join(tmpdir(), 'lathe-bench-'));
const runtime = createOrtRuntime({ scratch, threads: 2 });
const data = process.env.LATHE_DATA ?? join(import.meta.dirname, '../../shared/data');
const cpu = describeCpu();

function nodeCount(model: Model): number {
  return [...graphsWithin(model.graph)].reduce((count, graph) => count + graph.nodes.length, 0);
}

/** Largest absolute difference, and largest magnitude, over all outputs that are numbers. */
function compare(expected: ReadonlyMap<string, Tensor>, actual: ReadonlyMap<string, Tensor>): { difference: number; magnitude: number } {
  let difference = 0;
  let magnitude = 0;
  for (const [name, tensor] of expected) {
    const other = actual.get(name);
    const read = elementReaders[tensor.dataType];
    if (!other || !read) continue;
    const bytes = [tensor, other].map(({ data: source }) => source.read().slice());
    const [left, right] = bytes.map((own) => new DataView(own.buffer));
    const step = dataTypes[tensor.dataType].bits / 8;
    for (let at = 0; left && right && at < left.byteLength; at += step) {
      const [a, b] = [Number(read(left, at)), Number(read(right, at))];
      if (Number.isFinite(a)) magnitude = Math.max(magnitude, Math.abs(a));
      if (a !== b && !(Number.isNaN(a) && Number.isNaN(b))) difference = Math.max(difference, Math.abs(a - b));
    }
  }
  return { difference, magnitude };
}

async function differenceAt(optimization: 'disabled' | 'all', models: readonly [Model, Model], samples: SampleMaker) {
  const [before, after] = [await runtime.open(models[0], { optimization }), await runtime.open(models[1], { optimization })];
  try {
    const results = [];
    for (let index = 0; index < 10; index += 1) {
      const feeds = samples.make(index);
      results.push(compare(await before.run(feeds), await after.run(feeds)));
    }
    return { difference: Math.max(...results.map((one) => one.difference)), magnitude: Math.max(...results.map((one) => one.magnitude)) };
  } finally {
    await before.close();
    await after.close();
  }
}

async function measure(path: string): Promise<Record<string, unknown>> {
  const before = decodeModelFile(path);
  const after = cloneModel(before);
  const started = performance.now();
  await cleanUp(after, {
    target: 'x64',
    runtime,
    scratch,
    signal: new AbortController().signal,
    objective: 'latency' as const,
    progress: () => undefined,
  });
  const clean_up_ms = Math.round(performance.now() - started);
  const files = await Promise.all([before, after].map((model, at) => encodeModelFile(model, join(scratch, `${at}.onnx`))));
  const [bytes_before = 0, bytes_after = 0] = files.map((written) => written.reduce((sum, file) => sum + file.sizeBytes, 0));
  const sizes = {
    file: relative(data, path),
    nodes_before: nodeCount(before),
    nodes_after: nodeCount(after),
    bytes_before,
    bytes_after,
    clean_up_ms,
  };
  const session = await runtime.open(before).catch(() => undefined);
  if (!session) return { ...sizes, runs: false };
  const samples = await findSampleInputs(before, session).catch(() => undefined);
  await session.close();
  if (!samples) return { ...sizes, runs: false };
  const plain = await differenceAt('disabled', [before, after], samples);
  const optimized = await differenceAt('all', [before, after], samples);
  const feeds = samples.make(0);
  const [first, second] = await measureLatencies(
    runtime,
    [
      { model: before, feeds },
      { model: after, feeds },
    ],
    { budgetMs: 3000 },
  );
  const ms_before = first?.median_ms ?? Number.NaN;
  const ms_after = second?.median_ms ?? Number.NaN;
  return {
    ...sizes,
    max_difference: plain.difference,
    max_difference_optimized: optimized.difference,
    max_magnitude: plain.magnitude,
    ms_before,
    ms_after,
    ratio: ms_before / ms_after,
    cpu: cpu.name,
    isa: cpu.isa,
  };
}

function modelFiles(): string[] {
  const named = process.argv.slice(2);
  if (named.length > 0) return named;
  if (!existsSync(data)) return [];
  return readdirSync(data, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.onnx'))
    .sort()
    .map((name) => join(data, name));
}

try {
  for (const path of modelFiles()) {
    const line = await measure(path).catch((error: unknown) => ({
      file: relative(data, path),
      refused: error instanceof Error ? error.message : String(error),
    }));
    console.log(JSON.stringify(line));
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
