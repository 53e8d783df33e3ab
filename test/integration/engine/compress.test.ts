/** The engine through its front door: files in, artifact and report out, nothing left behind. */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type AcceleratorProfile,
  benchmark,
  type CompressionReport,
  type CompressRequest,
  type CompressResult,
  compress,
  EngineError,
  evaluate,
  type InspectedTraffic,
  inspect,
  type ProgressEvent,
  renderTrafficPlot,
  shippedProfiles,
} from '../../../services/engine/index.js';
import {
  type ByteSource,
  bytesInMemory,
  float32Tensor,
  float32Values,
  type Model,
  type Tensor,
} from '../../../services/engine/ir/index.js';
import { decodeModelFile, encodeModelFile } from '../../../services/engine/onnx/index.js';
import { createOrtRuntime } from '../../../services/engine/runtime/ort-session.js';
import { buildModel, classifier } from '../../support/build-model.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { float32Array, int64Array, writeNpz } from '../../support/write-npz.js';

const features = 64;
const samples = 300;
const pixels = Float32Array.from({ length: samples * features }, (_, index) => Math.sin(index * 12.9898) * Math.cos(index * 0.37));

interface Case {
  readonly folder: string;
  readonly modelPath: string;
  readonly dataPath: string;
  readonly outDir: string;
  readonly scratch: string;
}

/** A classifier and a labelled data set; the labels are the model's own answers, so fp32 has a top-1 of exactly 1. */
async function prepared(model: Model = classifier({ features, hidden: 256 })): Promise<Case> {
  const folder = await temporaryFolder();
  const [outDir, scratch] = [join(folder, 'out'), await temporaryFolder()];
  model.metadata.set('author', 'someone');
  encodeModelFile(model, join(folder, 'source.onnx'));
  const session = await createOrtRuntime({ scratch }).open(model);
  const answers = await session.run(
    new Map([['x', { dataType: 'float32' as const, dims: [samples, features], data: bytesInMemory(new Uint8Array(pixels.buffer)) }]]),
  );
  await session.close();
  const logits = float32Values(answers.get('logits') as Tensor);
  const labels = Array.from({ length: samples }, (_, row) => {
    const scores = [...logits.subarray(row * 10, row * 10 + 10)];
    return scores.indexOf(Math.max(...scores));
  });
  await writeNpz(join(folder, 'eval.npz'), { x: float32Array([samples, features], pixels), labels: int64Array([samples], labels) });
  return { folder, modelPath: join(folder, 'source.onnx'), dataPath: join(folder, 'eval.npz'), outDir, scratch };
}

const request = (of: Case, over: Partial<CompressRequest> = {}): CompressRequest => ({
  modelPath: of.modelPath,
  plan: { steps: [{ method: 'dynamic-int8' }] },
  evaluation: of.dataPath,
  outDir: of.outDir,
  scratch: of.scratch,
  measureBudgetMs: 60,
  ...over,
});

describe('compress', () => {
  test('writes an artifact with the same interface, its evidence, and nothing else', async () => {
    const of = await prepared();
    const events: ProgressEvent[] = [];
    const result = await compress(request(of, { onProgress: (event) => events.push(event) }));
    expect(await readdir(of.outDir)).toEqual(['model.onnx', 'report.html', 'report.json']);
    expect(await readdir(of.scratch)).toEqual([]);
    const report: CompressionReport = JSON.parse(await readFile(result.reportPath, 'utf8'));
    expect(report).toEqual(JSON.parse(JSON.stringify(result.report)));
    const bytes = await readFile(join(of.outDir, 'model.onnx'));
    expect(report.artifact).toMatchObject({ bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
    expect(report.source.bytes).toBe((await stat(of.modelPath)).size);
    expect(report.size_ratio).toBe(report.source.bytes / report.artifact.bytes);
    expect(report.speedup).toBeGreaterThanOrEqual(report.latency?.speedup_interval.low ?? Number.NaN);
    expect(report.speedup).toBeLessThanOrEqual(report.latency?.speedup_interval.high ?? Number.NaN);
    expect(report.source.macs).toBe(features * 256 + 256 * 10);
    expect(report.source.parameters).toBe(features * 256 + 256 + 256 * 10 + 10);
    const [source, artifact] = [decodeModelFile(of.modelPath), decodeModelFile(join(of.outDir, 'model.onnx'))];
    const interfaceOf = ({ graph }: Model) =>
      [graph.inputs, graph.outputs].map((values) => values.map(({ name, type }) => ({ name, type })));
    expect(interfaceOf(artifact)).toEqual(interfaceOf(source));
    expect(artifact.metadata.get('author')).toBe('someone');
    expect(JSON.parse(artifact.metadata.get('lathe.recipe') ?? '')).toEqual({ steps: [{ method: 'dynamic-int8' }] });
    expect(artifact.metadata.get('lathe.parent_sha256')).toBe(report.source.sha256);
    expect([...new Set(events.map((event) => event.phase))]).toEqual(['decode', 'clean-up', 'dynamic-int8', 'verify', 'measure', 'report']);
    expect(events.at(-1)?.fraction).toBe(1);
  });

  test('dynamic int8 shrinks the file and agrees with the source, measured on the data set', async () => {
    const of = await prepared();
    const { report } = await compress(request(of));
    expect(report.size_ratio).toBeGreaterThan(2.5);
    expect(report.source.metrics).toEqual({ top1: 1, top5: 1, samples });
    expect(report.artifact.metrics?.top1).toBeGreaterThan(0.95);
    expect(report.fidelity).toMatchObject({ samples, inputs: 'dataset', non_finite: 0, top1_agreement: report.artifact.metrics?.top1 });
    expect(report.fidelity.sqnr_db).toBeGreaterThan(25);
  });

  test('without data the fidelity is measured on generated inputs, and the report says so', async () => {
    const of = await prepared();
    const { evaluation: _, ...without } = request(of, { plan: { steps: [{ method: 'clean-up' }] } });
    const { report } = await compress(without);
    expect(report.fidelity).toMatchObject({ inputs: 'generated', non_finite: 0 });
    expect(report.fidelity.samples).toBeGreaterThanOrEqual(4);
    expect(report.source.metrics).toBeNull();
    expect(report.warnings.join(' ')).toMatch(/generated inputs.*no labels/);
  });

  test('a missed gate is told, and the artifact and the report are kept', async () => {
    const of = await prepared();
    const result = await compress(request(of, { plan: { steps: [{ method: 'dynamic-int8' }], gate: { min_size_ratio: 100 } } }));
    expect(result.gatePassed).toBe(false);
    expect(result.report.gate.checks[0]).toMatchObject({ check: 'min_size_ratio', limit: 100, passed: false });
    expect(await readdir(of.outDir)).toEqual(['model.onnx', 'report.html', 'report.json']);
  });

  test('a gate on a metric without labels is refused before any work', async () => {
    const of = await prepared();
    const plan = { steps: [{ method: 'clean-up' as const }], gate: { max_metric_drop: 0.1 } };
    await writeNpz(of.dataPath, { x: float32Array([1, features], pixels.subarray(0, features)) });
    await expect(compress(request(of, { plan }))).rejects.toMatchObject({ code: 'recipe_invalid' });
    await expect(stat(of.outDir)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('float16 storage halves the file', async () => {
    const of = await prepared();
    const { report } = await compress(request(of, { plan: { steps: [{ method: 'float16-storage' }] } }));
    expect(report.size_ratio).toBeGreaterThan(1.8);
    expect(report.fidelity.sqnr_db).toBeGreaterThan(60);
  });

  test('cancellation in any phase ends with canceled and leaves no temporary file', async () => {
    for (const phase of ['decode', 'dynamic-int8', 'measure']) {
      const of = await prepared();
      const controller = new AbortController();
      const running = compress(
        request(of, { signal: controller.signal, onProgress: (event) => event.phase === phase && controller.abort() }),
      );
      await expect(running).rejects.toMatchObject({ code: 'canceled' });
      expect(await readdir(of.scratch)).toEqual([]);
    }
  });

  test('a data set that does not fit is refused before any work', async () => {
    const of = await prepared();
    await writeNpz(of.dataPath, { x: float32Array([2, features + 1], new Float32Array(2 * (features + 1))) });
    await expect(compress(request(of))).rejects.toMatchObject({ code: 'dataset_invalid' });
    await expect(stat(of.outDir)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test.each([
    ['a file that is no model', Buffer.from('hello'), 'model_invalid'],
    ['an empty file', Buffer.alloc(0), 'model_invalid'],
  ])('%s is refused', async (_, bytes, code) => {
    const of = await prepared();
    await writeFile(of.modelPath, bytes);
    await expect(compress(request(of))).rejects.toMatchObject({ code });
  });

  test('a model that loads but does not run is refused with the reason', async () => {
    const broken = buildModel({
      inputs: [
        { name: 'x', shape: [2, 3] },
        { name: 'y', shape: ['a', 'b'] },
      ],
      outputs: [{ name: 'z', shape: null }],
      nodes: [{ opType: 'MatMul', inputs: ['x', 'y'], outputs: ['z'] }],
    });
    const folder = await temporaryFolder();
    encodeModelFile(broken, join(folder, 'm.onnx'));
    const running = compress({
      modelPath: join(folder, 'm.onnx'),
      plan: { steps: [{ method: 'clean-up' }] },
      outDir: join(folder, 'out'),
      scratch: folder,
    });
    await expect(running).rejects.toBeInstanceOf(EngineError);
    await expect(running).rejects.toMatchObject({ code: 'model_unsupported' });
  });
});

describe('evaluate, benchmark and inspect', () => {
  test('evaluate gives metrics, and with a reference the fidelity to it', async () => {
    const of = await prepared();
    expect(await evaluate({ modelPath: of.modelPath, dataPath: of.dataPath, scratch: of.scratch })).toEqual({
      metrics: { top1: 1, top5: 1, samples },
      reference: null,
      samples,
      emulated: null,
    });
    const compared = await evaluate({ modelPath: of.modelPath, referencePath: of.modelPath, dataPath: of.dataPath, scratch: of.scratch });
    expect(compared.reference).toMatchObject({ metrics: { top1: 1 }, fidelity: { max_abs_error: 0, top1_agreement: 1 } });
  });

  test('benchmark gives one latency for each path, in their order', async () => {
    const of = await prepared();
    const { models, environment } = await benchmark({ modelPaths: [of.modelPath, of.modelPath], scratch: of.scratch, budgetMs: 50 });
    expect(models.map((model) => model.path)).toEqual([of.modelPath, of.modelPath]);
    expect(models.every((model) => model.median_ms > 0)).toBe(true);
    expect(environment.runtime).toMatch(/^onnxruntime-node \d/);
  });

  test('inspect counts parameters and multiply-accumulates', async () => {
    const of = await prepared();
    const result = await inspect({ modelPath: of.modelPath, scratch: of.scratch });
    expect(result).toMatchObject({
      bytes: (await stat(of.modelPath)).size,
      macs: { total: features * 256 + 256 * 10 },
      shapes: { x: [1, features] },
      warnings: [],
    });
    expect(await readdir(of.scratch)).toEqual([]);
  });

  /** The weights of a large model must not pass through memory only to be counted. */
  test('inspecting a model of 300 MiB grows the process by less than half of it and still counts', async () => {
    const folder = await temporaryFolder();
    const width = 8960;
    const zeros: ByteSource = {
      byteLength: width * width * 4,
      read: () => new Uint8Array(width * width * 4),
      *chunks() {
        for (let row = 0; row < width; row++) yield new Uint8Array(width * 4);
      },
    };
    const large = buildModel({
      inputs: [{ name: 'x', shape: ['n', width] }],
      outputs: [{ name: 'y', shape: ['n', width] }],
      constants: { w: { dataType: 'float32', dims: [width, width], data: zeros } },
      nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    });
    encodeModelFile(large, join(folder, 'large.onnx'));
    const before = process.resourceUsage().maxRSS;
    const result = await inspect({ modelPath: join(folder, 'large.onnx'), scratch: folder });
    expect(result).toMatchObject({ macs: { total: width * width }, shapes: { x: [1, width] }, warnings: [] });
    expect((process.resourceUsage().maxRSS - before) / 1024).toBeLessThan(150);
  });
});

/** A real network when it is there: ../shared/data is no part of the repository. */
const mnist = join(process.env.LATHE_DATA ?? join(import.meta.dirname, '../../../../shared/data'), 'mnist');
const present = await stat(mnist).then(
  () => true,
  () => false,
);

describe.runIf(present)('on the MNIST network 256x2', () => {
  let result: CompressResult;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lathe-test-'));
    const read = async (name: string) => gunzipSync(await readFile(join(mnist, name)));
    const images = (await read('t10k-images-idx3-ubyte.gz')).subarray(16);
    const labels = (await read('t10k-labels-idx1-ubyte.gz')).subarray(8);
    await writeNpz(join(folder, 'eval.npz'), {
      '0': float32Array(
        [10_000, 784, 1],
        Float32Array.from(images, (pixel) => pixel / 255),
      ),
      labels: int64Array([10_000], [...labels]),
    });
    result = await compress({
      modelPath: join(mnist, 'models/mnist-net_256x2.onnx'),
      plan: { steps: [{ method: 'dynamic-int8' }] },
      evaluation: join(folder, 'eval.npz'),
      outDir: join(folder, 'out'),
      scratch: folder,
      measureBudgetMs: 200,
    });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('the artifact is at least 3.5 times smaller and within 0.1 point of fp32', () => {
    const { report } = result;
    expect(report.size_ratio).toBeGreaterThanOrEqual(3.5);
    expect(report.source.metrics?.top1).toBeCloseTo(0.9808, 4);
    expect(report.artifact.metrics?.top1).toBeGreaterThanOrEqual((report.source.metrics?.top1 ?? 1) - 0.001);
    expect(result.modelFiles).toHaveLength(1);
  });
});

describe('accelerators', () => {
  const accelerator = { accelerator: 'variable-precision' } as const;

  test('a recipe for an accelerator reports traffic and energy before and after, and times nothing', async () => {
    const of = await prepared();
    const { report, htmlReportPath } = await compress(
      request(of, {
        plan: { steps: [{ method: 'dynamic-int8' }, { method: 'activation-compression' }], target: accelerator },
        calibration: of.dataPath,
      }),
    );
    expect(report).toMatchObject({ target: accelerator, objective: 'size', traffic: { accelerator: { name: 'variable-precision' } } });
    const [before, after] = [report.traffic?.source, report.traffic?.artifact];
    // In 16 bit words 64 x 256 and 256 x 10 weights with 266 biases, x, the hidden map twice, and the answers.
    expect(before?.total).toMatchObject({
      weight_bytes: 2 * (64 * 256 + 256 * 10 + 266),
      input_bytes: 2 * (64 + 256),
      output_bytes: 2 * (256 + 10),
    });
    expect(after?.total.weight_bytes).toBeLessThan(0.56 * (before?.total.weight_bytes ?? 0));
    expect(report.traffic?.dram_saved).toBeCloseTo(1 - (after?.total.bytes ?? 0) / (before?.total.bytes ?? 1), 12);
    expect(report.maps.length).toBeGreaterThan(0);
    const page = await readFile(htmlReportPath, 'utf8');
    expect(page).toContain('Off-chip traffic on Variable-precision array');
    expect(page).toContain('Maps coded without loss');
  });

  test('inspect counts the same bytes; a name that is none is refused before anything is read', async () => {
    const of = await prepared();
    const { traffic } = await inspect({
      modelPath: of.modelPath,
      scratch: of.scratch,
      dataPath: of.dataPath,
      accelerator: shippedProfiles.find(({ name }) => name === 'variable-precision') as AcceleratorProfile,
    });
    expect(traffic?.total.input_bytes).toBe(2 * (64 + 256));
    const plot = renderTrafficPlot(traffic as InspectedTraffic);
    expect(plot).toMatch(/^<svg xmlns/);
    for (const layer of traffic?.layers ?? []) expect(plot).toContain(layer.node);
    await expect(compress(request(of, { plan: { steps: [{ method: 'clean-up' }], target: { accelerator: 'abacus' } } }))).rejects.toThrow(
      /no accelerator "abacus"/,
    );
  });
});

describe('pictures of different sizes', () => {
  const sizes = [
    [9, 14],
    [16, 11],
    [20, 24],
  ] as const;

  /** y = conv 3x3 of x, and a data set whose labels are the model's own answers. */
  async function pictures(): Promise<Case> {
    const shape = ['batch', 1, 'height', 'width'];
    const model = buildModel({
      inputs: [{ name: 'x', shape }],
      outputs: [{ name: 'y', shape }],
      constants: { w: float32Tensor([1, 1, 3, 3], [0, 0.1, 0, 0.1, 0.6, 0.1, 0, 0.1, 0]) },
      nodes: [
        {
          opType: 'Conv',
          name: 'conv',
          inputs: ['x', 'w'],
          outputs: ['y'],
          attributes: { pads: { kind: 'ints', value: [1n, 1n, 1n, 1n] } },
        },
      ],
    });
    const [folder, outDir, scratch] = [await temporaryFolder(), await temporaryFolder(), await temporaryFolder()];
    encodeModelFile(model, join(folder, 'source.onnx'));
    const session = await createOrtRuntime({ scratch }).open(model);
    const arrays: Record<string, ReturnType<typeof float32Array>> = {};
    for (const [index, [height, width]] of sizes.entries()) {
      const values = Float32Array.from({ length: height * width }, (_, at) => 0.5 + 0.4 * Math.sin(at * 0.31 + index));
      const answers = await session.run(new Map([['x', float32Tensor([1, 1, height, width], values)]]));
      arrays[`x_${index}`] = float32Array([1, 1, height, width], values);
      arrays[`labels_${index}`] = float32Array([1, 1, height, width], float32Values(answers.get('y') as Tensor));
    }
    await session.close();
    await writeNpz(join(folder, 'data.npz'), arrays);
    return { folder, modelPath: join(folder, 'source.onnx'), dataPath: join(folder, 'data.npz'), outDir, scratch };
  }

  test('are evaluated one by one; PSNR of a model against its own answers is the cap', async () => {
    const of = await pictures();
    const { metrics, samples: count } = await evaluate({
      modelPath: of.modelPath,
      dataPath: of.dataPath,
      scratch: of.scratch,
      image: { border: 2 },
    });
    expect(count).toBe(3);
    expect(metrics?.psnr).toBe(100);
    // The first picture has 5 rows left: too few for a window.
    expect(metrics).not.toHaveProperty('ssim');
  });

  test('calibrate and judge a recipe with a gate on PSNR', async () => {
    const of = await pictures();
    const { report } = await compress(
      request(of, {
        plan: { steps: [{ method: 'static-int8' }], gate: { metric: 'psnr', max_metric_drop: 75 }, objective: 'size' },
        calibration: of.dataPath,
      }),
    );
    expect(report.source.metrics?.psnr).toBe(100);
    expect(report.artifact.metrics?.psnr).toBeGreaterThan(40);
    expect(report.artifact.metrics?.psnr).toBeLessThan(100);
    expect(report.gate).toMatchObject({ passed: true, checks: [{ check: 'max_metric_drop', metric: 'psnr' }, {}] });
  });
});
