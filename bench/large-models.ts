/**
 * Memory that large models take: inspects a 1 GiB model in one file, and copies one of more than 2 GiB with external data.
 * Run: node --import tsx bench/large-models.ts [folder]. Needs 6 GiB of disk, removed at the end.
 *
 * 2026-11-23, Intel Xeon (2 cores, shared), Node 20.20.2: a process that only loads the engine peaks at 82 MiB; inspecting
 * 1,024 MiB at 82 MiB (0.080 of the file, 7 ms); reading and writing 2,304 MiB at 152 MiB (15 s).
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspectModel } from '../services/engine/inspection/index.js';
import { type ByteSource, Graph, Model, Node, type Tensor, Value } from '../services/engine/ir/index.js';
import { decodeModelFile, encodeModelFile } from '../services/engine/onnx/index.js';

const MiB = 2 ** 20;

/** Bytes made while they are read: the weights of the test models are never in memory, and differ per tensor. */
function generatedBytes(byteLength: number, seed: number): ByteSource {
  function* chunks(sizeBytes = MiB): Generator<Uint8Array> {
    for (let at = 0; at < byteLength; at += sizeBytes)
      yield new Uint8Array(Math.min(sizeBytes, byteLength - at)).fill((seed + at / sizeBytes) % 256);
  }
  return { byteLength, chunks, read: () => Buffer.concat([...chunks()]) };
}

/** `layers` MatMuls in a row, each with a weight of `weightMiB` MiB. */
function layeredModel(layers: number, weightMiB: number): Model {
  const width = 1024;
  const rows = (weightMiB * MiB) / 4 / width;
  const graph = new Graph('large');
  for (let layer = 0; layer < layers; layer++) {
    const tensor: Tensor = { dataType: 'float32', dims: [rows, width], data: generatedBytes(weightMiB * MiB, layer) };
    const weight = graph.addInitializer(`weight_${layer}`, tensor);
    const x = new Value(`x_${layer}`, { kind: 'tensor', dataType: 'float32', shape: [1, rows] });
    const y = new Value(`y_${layer}`, { kind: 'tensor', dataType: 'float32', shape: [1, width] });
    graph.inputs.push(x);
    graph.outputs.push(y);
    graph.append(new Node({ opType: 'MatMul', name: `layer_${layer}`, inputs: [x, weight], outputs: [y] }));
  }
  const model = new Model(graph);
  model.irVersion = 8;
  model.opsetImports.set('', 17);
  return model;
}

interface Measured {
  readonly peakMiB: number;
  readonly ms: number;
  readonly parameters: number;
}

/** Runs one step of this file in a process of its own, so that its peak memory is that of the step. */
function inChild(...step: string[]): Measured {
  const output = execFileSync(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), ...step], { encoding: 'utf8' });
  return JSON.parse(output) as Measured;
}

const steps: Record<string, (source: string, target: string) => number> = {
  inspect: (source) => inspectModel(decodeModelFile(source)).parameters,
  copy: (source, target) => {
    const model = decodeModelFile(source);
    encodeModelFile(model, target);
    return inspectModel(model).parameters;
  },
  nothing: () => 0,
};

function runStep(name: string, source: string, target: string): void {
  const step = steps[name];
  if (!step) throw new Error(`unknown step ${name}`);
  const start = performance.now();
  const parameters = step(source, target);
  const result: Measured = {
    peakMiB: Math.round(process.resourceUsage().maxRSS / 1024),
    ms: Math.round(performance.now() - start),
    parameters,
  };
  process.stdout.write(JSON.stringify(result));
}

function report(folder: string): void {
  const print = (line: string) => process.stdout.write(`${line}\n`);
  print(`${cpus()[0]?.model ?? 'unknown CPU'}, Node ${process.version}`);
  const empty = inChild('nothing', '', '');
  print(`a process that only loads the engine: peak RSS ${empty.peakMiB} MiB`);

  const single = join(folder, 'single.onnx');
  encodeModelFile(layeredModel(16, 64), single, { externalThresholdBytes: 2 ** 31 });
  const bytes = statSync(single).size;
  const inspected = inChild('inspect', single, '');
  print(
    `inspect ${(bytes / MiB).toFixed(0)} MiB in one file: peak RSS ${inspected.peakMiB} MiB (${((inspected.peakMiB * MiB) / bytes).toFixed(3)} of the file), ${inspected.ms} ms, ${inspected.parameters} parameters`,
  );
  rmSync(single);

  const source = join(folder, 'external.onnx');
  const written = encodeModelFile(layeredModel(36, 64), source);
  const total = written.reduce((sum, file) => sum + file.sizeBytes, 0);
  const copy = join(folder, 'copy.onnx');
  const copied = inChild('copy', source, copy);
  print(
    `read and write ${(total / MiB).toFixed(0)} MiB with external data (${written.length} files): peak RSS ${copied.peakMiB} MiB, ${copied.ms} ms`,
  );
  execFileSync('cmp', [`${source}.data`, `${copy}.data`]);
  print('the data files are identical');
}

const [step, source = '', target = ''] = process.argv.slice(2);
if (step && step in steps) runStep(step, source, target);
else {
  const folder = mkdtempSync(join(step ?? tmpdir(), 'lathe-large-'));
  try {
    report(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
