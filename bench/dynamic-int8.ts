/**
 * dynamic-int8 on real models: size, accuracy and latency before and after, as the product measures them.
 * Prints one JSON line per model. Run: node --import tsx bench/dynamic-int8.ts
 * Models of LATHE_DATA (default ../shared/data). LATHE_MINILM names a transformer (minilm_sst2.onnx; sst2_test.npz and
 * sst2_train512.npz beside it); LATHE_REFERENCES names further artifacts of it, separated by commas, to time beside ours.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { benchmark, compress } from '../services/engine/index.js';
import { writeNpz } from '../test/support/write-npz.js';

const scratch = mkdtempSync(join(tmpdir(), 'lathe-bench-'));
const data = process.env.LATHE_DATA ?? join(import.meta.dirname, '../../shared/data');

interface Subject {
  readonly name: string;
  readonly modelPath: string;
  readonly evaluation?: string;
  readonly calibration?: string;
}

async function measure({ name, ...request }: Subject): Promise<string> {
  const outDir = join(scratch, name.replaceAll('/', '_'));
  const { report, modelFiles } = await compress({ ...request, plan: { steps: [{ method: 'dynamic-int8' }] }, outDir, scratch });
  const { source, artifact, fidelity, environment } = report;
  const forms = report.nodes.filter((node) => node.by === 'dynamic-int8' && node.action === 'changed');
  console.log(
    JSON.stringify({
      name,
      bytes: [source.bytes, artifact.bytes],
      size_ratio: report.size_ratio,
      top1: [source.metrics?.top1, artifact.metrics?.top1],
      latency_ms: [source.latency_ms, artifact.latency_ms],
      speedup: report.speedup,
      sqnr_db: fidelity.sqnr_db,
      top1_agreement: fidelity.top1_agreement,
      integer_layers: forms.filter((node) => node.reason.includes('at run time')).length,
      stored_layers: forms.filter((node) => node.reason.includes('widened to float32')).length,
      seconds: report.seconds,
      cpu: `${environment.cpu} ${environment.isa}`,
      warnings: report.warnings,
    }),
  );
  return modelFiles[0] ?? '';
}

/** The test images of MNIST, as the 256x2 network takes them: [10000, 784, 1], 0 to 1. */
async function mnistTest(): Promise<string> {
  const images = gunzipSync(readFileSync(join(data, 'mnist/t10k-images-idx3-ubyte.gz'))).subarray(16);
  const labels = gunzipSync(readFileSync(join(data, 'mnist/t10k-labels-idx1-ubyte.gz'))).subarray(8);
  const values = Float32Array.from(images, (pixel) => pixel / 255);
  const path = join(scratch, 'mnist.npz');
  await writeNpz(path, {
    '0': { descr: '<f4', shape: [labels.length, 784, 1], bytes: new Uint8Array(values.buffer) },
    labels: { descr: '<i8', shape: [labels.length], bytes: new Uint8Array(BigInt64Array.from(labels, BigInt).buffer) },
  });
  return path;
}

const unlabelled = [
  'cifar10/models/marabou_cifar10_medium.onnx',
  'cifar10/models/vit_pgd_2_3_16.onnx',
  'energy/models/pjm_lstm_att.onnx',
  'etth/models/lstm_att.onnx',
  'hand-gesture/point_history_classifier_lstm.onnx',
  'magika/model.onnx',
  'speech-enh/gtcrn_simple.onnx',
  'untrained/vit.onnx',
  'vad/models/silero_vad.onnx',
];

async function measureTransformer(modelPath: string): Promise<void> {
  const evaluation = join(dirname(modelPath), 'sst2_test.npz');
  const calibration = join(dirname(modelPath), 'sst2_train512.npz');
  const plain = await measure({ name: 'minilm', modelPath, evaluation });
  const calibrated = await measure({ name: 'minilm with calibration', modelPath, evaluation, calibration });
  const references = (process.env.LATHE_REFERENCES ?? '').split(',').filter((path) => path !== '');
  const paths = [modelPath, plain, calibrated, ...references];
  const { models } = await benchmark({ modelPaths: paths, dataPath: evaluation, scratch, budgetMs: 8000 });
  console.log(JSON.stringify({ name: 'minilm, one sample of 64 tokens, interleaved', models }));
}

try {
  const mlp = join(data, 'mnist/models/mnist-net_256x2.onnx');
  if (existsSync(mlp)) await measure({ name: 'mnist-net_256x2', modelPath: mlp, evaluation: await mnistTest() });
  for (const name of unlabelled) {
    if (existsSync(join(data, name))) await measure({ name, modelPath: join(data, name) });
  }
  if (process.env.LATHE_MINILM) await measureTransformer(process.env.LATHE_MINILM);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
