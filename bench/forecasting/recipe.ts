/** A forecaster of the PJM load from nothing: trained, distilled to half its width, quantized; each stage is reported. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attributeOf, encodeModel } from '../../services/engine/index.js';
import { elementCount, float32Tensor, int64Tensor, integerValues, type Model } from '../../services/engine/ir/index.js';
import { decodeModelFile } from '../../services/engine/onnx/index.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { type LearningTask, learn } from '../training/runs.js';
import { forecasters } from './subjects.js';

const schedule = {
  optimizer: { name: 'adamw', weight_decay: 1e-2 },
  schedule: { name: 'one-cycle' },
  batch_size: 128,
  initialize: 'fresh',
} as const;
const train = { method: 'train', epochs: 6, learning_rate: 3e-3, losses: [{ kind: 'huber' }], ...schedule } as const;
const distill = { method: 'distill', teacher: 'given', epochs: 8, learning_rate: 4e-3, ...schedule } as const;

export async function recipeSection(bench: Workbench): Promise<void> {
  const pjm = (await forecasters(bench)).find(({ name }) => name === 'pjm');
  if (!pjm) return;
  const task = { data: pjm.files.train, evaluation: pjm.files.test };
  const stage = async (form: string, rest: Pick<LearningTask, 'modelPath' | 'plan' | 'teacherPath'>): Promise<string | null> => {
    const what = { section: 'recipe', subject: 'pjm', form };
    const run = await attempt(bench, what, () => learn(bench, { name: join('recipe', form.replaceAll(/[ ,]+/g, '-')), ...task, ...rest }));
    if (!run) return null;
    const { mse, mape, mase } = run.report.artifact.metrics ?? {};
    bench.tell({
      ...what,
      mse,
      mape,
      mase,
      bytes: run.report.artifact.bytes,
      parameters: run.report.artifact.parameters,
      seconds: run.seconds,
    });
    return run.path;
  };
  const size = { objective: 'size' } as const;
  const teacher = await stage('64 units, trained', { modelPath: pjm.modelPath, plan: { steps: [train], ...size } });
  if (!teacher) return;
  const folder = join(bench.folder, 'samples');
  mkdirSync(folder, { recursive: true });
  const narrow = join(folder, 'pjm-32.onnx');
  const model = decodeModelFile(pjm.modelPath);
  halve(model, 64);
  writeFileSync(narrow, encodeModel(model));
  const student = await stage('32 units, distilled', { modelPath: narrow, plan: { steps: [distill], ...size }, teacherPath: teacher });
  if (!student) return;
  for (const bits of [8, 4] as const)
    await stage(`32 units, ${bits} bit`, {
      modelPath: student,
      plan: { steps: [{ method: 'distribution-aware', bits, integer_kernels: 'never' }], ...size },
    });
}

/** Every size that comes of the hidden size is halved; the numbers are drawn anew by the recipe. */
function halve(model: Model, hidden: number): void {
  const { graph } = model;
  const halved = (size: number): number => (size > 0 && size % hidden === 0 ? size / 2 : size);
  for (const [value, tensor] of graph.initializers) {
    if (tensor.dataType !== 'float32' || tensor.dims.length === 0) continue;
    const dims = tensor.dims.map(halved);
    graph.initializers.set(value, float32Tensor(dims, new Float32Array(elementCount(dims))));
    value.type = { kind: 'tensor', dataType: 'float32', shape: dims };
  }
  for (const node of graph.nodes) {
    for (const output of node.outputs) if (output?.type && !graph.isOutput(output)) output.type = null;
    if (node.attributes.has('hidden_size')) node.attributes.set('hidden_size', attributeOf.int(hidden / 2));
    const constant = node.opType === 'Constant' ? node.attributes.get('value') : undefined;
    if (constant?.kind !== 'tensor' || constant.value.dataType !== 'int64') continue;
    const values = integerValues(constant.value);
    if (values.length === 1 && values[0] === hidden)
      node.attributes.set('value', attributeOf.tensor(int64Tensor(constant.value.dims, [hidden / 2])));
  }
}
