/** One network of ../shared/data/untrained trained on random numbers, as reference/train_torch.py does: steps per second and peak memory. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { float32Tensor } from '../../services/engine/ir/index.js';
import type { MethodContext } from '../../services/engine/method.js';
import { decodeModelFile } from '../../services/engine/onnx/index.js';
import { createOrtRuntime } from '../../services/engine/runtime/ort-session.js';
import { pseudoRandom } from '../../services/engine/runtime/pseudo-random.js';
import { batchParts, partOf } from '../../services/engine/training/batch-parts.js';
import { DataParallelSession } from '../../services/engine/training/data-parallel-session.js';
import { objectiveOf } from '../../services/engine/training/objective.js';
import type { UpdateOptions } from '../../services/engine/training/optimizer.js';
import { trainableModel } from '../../services/engine/training/trainable-model.js';
import { trainingGraph } from '../../services/engine/training/training-graph.js';
import { TrainingSession } from '../../services/engine/training/training-session.js';
import { untieIdentities } from '../../services/engine/training/untie-identities.js';

const networks = {
  mlp: { dims: [128, 1, 28, 28], isClassifier: true, optimizer: 'sgd' },
  resnet: { dims: [64, 3, 32, 32], isClassifier: true, optimizer: 'sgd' },
  lstm: { dims: [64, 96, 7], isClassifier: false, optimizer: 'adamw' },
  vit: { dims: [64, 3, 32, 32], isClassifier: true, optimizer: 'adamw' },
  espcn: { dims: [16, 1, 24, 24], isClassifier: false, optimizer: 'adamw' },
} as const;
const THREADS = 2;
const WINDOWS = 5;
const WINDOW_MS = 2000;

const [name = '', modelPath = ''] = process.argv.slice(2);
const network = networks[name as keyof typeof networks];
const scratch = mkdtempSync(join(tmpdir(), 'lathe-steps-'));
try {
  const runtime = createOrtRuntime({ scratch, threads: THREADS });
  const context: MethodContext = {
    runtime,
    scratch,
    target: 'x64',
    objective: 'size',
    signal: new AbortController().signal,
    progress() {},
  };
  const random = pseudoRandom(1);
  const filled = (dims: readonly number[]) =>
    float32Tensor(
      dims,
      Float32Array.from({ length: dims.reduce((product, size) => product * size, 1) }, () => random.uniform()),
    );
  const model = decodeModelFile(modelPath);
  untieIdentities(model);
  const feeds = new Map([[model.graph.inputs[0]?.name ?? '', filled(network.dims)]]);
  const losses = [{ kind: network.isClassifier ? 'cross-entropy' : 'mse' } as const];
  const optimizer = network.optimizer === 'sgd' ? ({ name: 'sgd', momentum: 0.9 } as const) : ({ name: 'adamw' } as const);
  const written = async (rows: typeof feeds, updates?: UpdateOptions) => {
    const trainable = await trainableModel({ model, feeds: rows, context, batchStatistics: true });
    const { objective, inputs } = objectiveOf(losses);
    const graph = await trainingGraph({ trainable, feeds: rows, objective, runtime, ...(updates ? { updates } : {}) });
    return { graph, inputs };
  };
  const { graph, inputs } = await written(feeds, { optimizer });
  const parts = batchParts({ graph, feeds, losses, threads: THREADS });
  const session =
    parts === 1
      ? await TrainingSession.open(runtime, graph)
      : await DataParallelSession.open(runtime, (await written(partOf(feeds, 0, parts))).graph, { parts, options: { optimizer } });
  const targets = inputs.targets;
  if (!targets) throw new Error('the objective has no targets');
  const classes = targets.dims.at(-1) ?? 1;
  const goal = filled(targets.dims);
  const shares = new Float32Array(goal.data.byteLength / 4);
  for (let row = 0; row < shares.length; row += classes) shares[row + random.below(classes)] = 1;
  const all = new Map([...feeds, [targets.name, network.isClassifier ? float32Tensor(targets.dims, shares) : goal]]);
  let taken = 0;
  const run = async (): Promise<number> => {
    const steps = Array.from({ length: session.stepsPerRun }, () => ({ feeds: all, learningRate: 1e-4 }));
    await session.run(taken + 1, steps);
    taken += steps.length;
    return steps.length;
  };
  while (taken < 5) await run();
  const rates: number[] = [];
  for (let window = 0; window < WINDOWS; window++) {
    const started = performance.now();
    let steps = 0;
    while (performance.now() - started < WINDOW_MS || steps < 3) steps += await run();
    rates.push((1000 * steps) / (performance.now() - started));
  }
  await session.close();
  rates.sort((a, b) => a - b);
  process.stdout.write(
    `${JSON.stringify({ steps_per_s: rates[Math.floor(WINDOWS / 2)], rss_mb: process.resourceUsage().maxRSS / 1024 })}\n`,
  );
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
