/** A report as a run on a small residual network gives it: layers, histograms, warnings, a gate. Deterministic. */
import type { LayerReport, NodeChange, TrainingSummary, ValueHistogram } from '../../services/engine/method.js';
import type { CompressionReport, ModelMeasurement } from '../../services/engine/pipeline/report.js';

function histogram(low: number, high: number, density: (x: number) => number): ValueHistogram {
  const counts = Array.from({ length: 64 }, (_, bin) => Math.round(10_000 * density(low + ((bin + 0.5) * (high - low)) / 64)));
  return { low, high, counts };
}

const normal = (spread: number) => (x: number) => Math.exp((-x * x) / (2 * spread * spread));
const afterRelu = (spread: number) => (x: number) => (x < 0.1 ? 1 : 0.3 * Math.exp(-x / spread));

/** Layer `index` of a chain; every field that a measured layer can have. */
export function sampleLayer(index: number, over: Partial<LayerReport> = {}): LayerReport {
  const spread = 0.05 + 0.03 * Math.abs(Math.sin(index));
  const top = 2 + (index % 5);
  const fused = index % 6 !== 5;
  return {
    node: `/stage${Math.floor(index / 4)}/block${index % 4}/conv/Conv`,
    op_type: index % 4 === 3 ? 'Gemm' : 'Conv',
    form: fused ? 'int8' : 'int8 stored',
    bytes_before: 36_864 * (1 + (index % 4)),
    bytes_after: 9_504 * (1 + (index % 4)),
    sqnr_local_db: 44 - 6 * Math.abs(Math.sin(1.7 * index)),
    sqnr_db: 41 - 0.35 * index - 4 * Math.abs(Math.sin(1.7 * index)),
    cosine: 0.99995 - 0.0001 * index,
    range: [0, top],
    scale: top / 255,
    zero_point: 0,
    clipped: 0.0004 * (index % 3),
    time_before_us: 120 + 40 * (index % 4),
    time_after_us: 70 + 22 * (index % 4),
    fused,
    ...(fused ? {} : { unfused_reason: 'measured slower as an integer kernel on this CPU; its weights stay int8 in the file' }),
    pair_bound: 32_640 - 13 * index,
    weight_histogram: histogram(-4 * spread, 4 * spread, normal(spread)),
    activation_histogram: histogram(0, 1.2 * top, afterRelu(top / 4)),
    ...over,
  };
}

/** A distillation of three epochs that was resumed; loss and accuracy as they are seen on images. */
export function sampleTraining(over: Partial<TrainingSummary> = {}): TrainingSummary {
  const points = 60;
  return {
    method: 'distill',
    losses: ['kd', 'cross-entropy'],
    steps: 939,
    resumed_at: 410,
    seconds: 61.27,
    steps_per_second: 15.33,
    parameters: 9_156,
    curve: Array.from({ length: points }, (_, at) => {
      const share = (at + 1) / points;
      const ripple = 1 + 0.06 * Math.sin(1.9 * at);
      return {
        ...{ epoch: 3 * share, step: Math.round(939 * share), learning_rate: 0.001 * (0.5 + 0.5 * Math.cos(Math.PI * share)) },
        ...{ loss: 14.2 * ripple * Math.exp(-3.6 * share) + 0.31, accuracy: 0.11 + 0.77 * (1 - Math.exp(-4.2 * share)) * ripple * 0.98 },
      };
    }),
    ...over,
  };
}

const measurement: ModelMeasurement = {
  sha256: '5f2b'.repeat(16),
  bytes: 3_661_204,
  compressed_bytes: 3_391_870,
  parameters: 914_826,
  nodes: 31,
  macs: 41_287_680,
  latency_ms: 0.6124,
  p90_ms: 0.6391,
  min_ms: 0.6012,
  metrics: { top1: 0.9015, top5: 0.9978, samples: 10_000 },
};

const left = (node: string, op_type: string, reason: string): NodeChange => ({ node, op_type, action: 'left', by: 'static-int8', reason });

export function sampleReport(over: Partial<CompressionReport> = {}): CompressionReport {
  const layers = Array.from({ length: 14 }, (_, index) => sampleLayer(index));
  return {
    schema_version: 1,
    created_at: '2026-11-27T09:12:44.120Z',
    recipe: { steps: [{ method: 'static-int8' }], gate: { max_metric_drop: 0.005, min_speedup: 1.5 } },
    target: 'x64',
    saturation: { exact_on: ['x64', 'x64-vnni', 'arm64'], saturating: [], explanation: 'No pair of products can saturate.' },
    objective: 'latency',
    traffic: null,
    maps: [],
    source: measurement,
    artifact: {
      ...measurement,
      sha256: 'a90c'.repeat(16),
      bytes: 939_120,
      compressed_bytes: 812_400,
      nodes: 58,
      latency_ms: 0.3302,
      p90_ms: 0.3517,
      min_ms: 0.3241,
      metrics: { top1: 0.9011, top5: 0.9976, samples: 10_000 },
    },
    size_ratio: 3_661_204 / 939_120,
    speedup: 0.6124 / 0.3302,
    latency: {
      inputs: 'dataset',
      shapes: { 'input.1': [1, 1, 28, 28] },
      source_runs: 812,
      artifact_runs: 1_490,
      speedup_interval: { low: 1.7, high: 1.9 },
    },
    fidelity: {
      sqnr_db: 43.18,
      cosine: 0.999976,
      max_abs_error: 0.2314,
      top1_agreement: 0.9962,
      samples: 10_000,
      inputs: 'dataset',
      non_finite: 0,
      outputs: [
        { name: 'logits', sqnr_db: 43.18, cosine: 0.999976, max_abs_error: 0.2314, non_finite: 0, non_finite_alike: 0 },
        { name: 'features', sqnr_db: 45.9, cosine: 0.999988, max_abs_error: 0.081, non_finite: 0, non_finite_alike: 0 },
      ],
    },
    gate: {
      passed: true,
      checks: [
        { check: 'max_metric_drop', metric: 'top1', limit: 0.005, actual: 0.0004, passed: true },
        { check: 'min_speedup', limit: 1.5, actual: 0.6124 / 0.3302, passed: true },
        { check: 'finite_outputs', limit: 0, actual: 0, passed: true },
      ],
    },
    fusion: { operators: { QLinearConv: 10, QGemm: 2, QuantizeLinear: 1, DequantizeLinear: 3, Conv: 2 }, unfused: [] },
    nodes: [
      ...layers.map(({ node, op_type }): NodeChange => ({ node, op_type, action: 'changed', by: 'static-int8', reason: 'int8' })),
      left('/pool/GlobalAveragePool', 'GlobalAveragePool', 'The runtime has no integer kernel that is faster.'),
      left('/softmax/Softmax', 'Softmax', 'Its output is an output of the graph and stays float.'),
      left('/relu/Relu', 'Relu', 'Folded into the range of the layer before it.'),
      left('/relu_1/Relu', 'Relu', 'Folded into the range of the layer before it.'),
    ],
    layers,
    training: [],
    calibration: { method: 'mse', samples: 200, samples_given: 2_000, tensors: 17, seconds: 0.41, from_cache: false },
    warnings: [
      'latency: the machine was busy while it was measured; the times and the speedup are not reliable.',
      'calibration: 1 of 17 tensors was constant over all samples; its range is widened to hold zero.',
    ],
    seconds: { decode: 0.041, 'clean-up': 0.012, 'static-int8': 0.912, verify: 0.038, measure: 1.622 },
    environment: {
      cpu: 'AMD EPYC 7B13',
      isa: 'AVX2',
      flags: ['avx2', 'fma', 'f16c'],
      u8s8_saturates: true,
      cores: 2,
      threads: 2,
      runtime: 'onnxruntime-node 1.30.0',
      lathe: '0.1.0',
      node: 'v20.20.0',
      os: 'Linux 6.1.0',
    },
    ...over,
  };
}
