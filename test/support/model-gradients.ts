/** Gradients of whole models: L = sum over float outputs of <random projection, output>, by every parameter. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { float32Tensor, type Model, type Tensor, tensorOf, type Value } from '../../services/engine/ir/index.js';
import { decodeModelFile } from '../../services/engine/onnx/index.js';
import type { Runtime } from '../../services/engine/runtime/execution-session.js';
import { type PseudoRandom, pseudoRandom } from '../../services/engine/runtime/pseudo-random.js';
import { findSampleInputs } from '../../services/engine/runtime/sample-inputs.js';
import { GradientSession } from '../../services/engine/training/gradient-session.js';
import { type TrainableModel, trainableModel } from '../../services/engine/training/trainable-model.js';
import { type Objective, trainingGraph } from '../../services/engine/training/training-graph.js';
import { untieIdentities } from '../../services/engine/training/untie-identities.js';

export const dataFolder = process.env.LATHE_DATA ?? join(import.meta.dirname, '../../../shared/data');

/** Paths below the data folder of all models that are whole networks: the malformed ones of onnx-edge are not. */
export function dataModels(): readonly string[] {
  if (!existsSync(dataFolder)) return [];
  return readdirSync(dataFolder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.onnx') && !path.startsWith('onnx-edge'))
    .sort();
}

/** Samples of one window of speech with the context before it: with the shorter ones that are tried first, no frame comes out. */
const SPEECH_WINDOW = 576;

export interface ModelGradients {
  readonly feeds: ReadonlyMap<string, Tensor>;
  /** By name of the projected value. */
  readonly projections: ReadonlyMap<string, Tensor>;
  readonly trainable: TrainableModel;
  readonly loss: number;
  /** dL/dp by name of the parameter. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
  /** L at the present values of the parameters, which a caller may move. */
  lossNow(): Promise<number>;
  close(): Promise<void>;
}

/** Fixed inputs of a small batch, normalizations by the statistics of the batch. Must be closed. */
export async function modelGradients(path: string, runtime: Runtime, scratch: string): Promise<ModelGradients> {
  const model = decodeModelFile(join(dataFolder, path));
  untieIdentities(model);
  exposeScores(model);
  const feeds = await smallBatch(model, runtime);
  const context = {
    runtime,
    scratch,
    target: 'x64',
    objective: 'latency',
    signal: new AbortController().signal,
    progress: () => undefined,
  } as const;
  const trainable = await trainableModel({ model, feeds, context, batchStatistics: true });
  const { objective, projections } = projection();
  const graph = await trainingGraph({ trainable, feeds, objective, runtime });
  const session = await GradientSession.open(runtime, graph);
  const fed = new Map([...feeds, ...[...projections.values()].map(({ input, tensor }) => [input, tensor] as const)]);
  const { loss, gradients } = await session.run(fed);
  return {
    ...{ feeds, trainable, loss },
    gradients: new Map([...gradients].map(([name, values]) => [name, values.slice()])),
    projections: new Map([...projections].map(([name, { tensor }]) => [name, tensor])),
    lossNow: async () => (await session.run(fed)).loss,
    close: () => session.close(),
  };
}

/** A model that only names the best class has no gradient; the scores that it chooses by have. */
function exposeScores({ graph }: Model): void {
  const isFloat = ({ type }: Value): boolean => type?.kind === 'tensor' && type.dataType === 'float32';
  if (graph.outputs.some(isFloat)) return;
  const scores = graph.nodes.flatMap((node) => (node.opType === 'ArgMax' ? (node.inputs[0] ?? []) : []));
  for (const value of scores) value.type = { kind: 'tensor', dataType: 'float32', shape: null };
  graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...scores);
}

/** A few samples where the model takes more than one, floats standard normal (states too), integers as they may be. */
async function smallBatch(model: Model, runtime: Runtime): Promise<ReadonlyMap<string, Tensor>> {
  const session = await runtime.open(model, { optimization: 'disabled' });
  try {
    const single = (await findSampleInputs(model, session)).make(0);
    const declared = new Map(session.inputs.map(({ name, shape }) => [name, shape] as const));
    const random = pseudoRandom(7);
    /** The statistics of two samples tell nothing but their order: no gradient comes well through them. */
    const batch = model.graph.nodes.some(({ opType }) => opType === 'BatchNormalization') ? 16 : 2;
    const normal = (dims: readonly number[]): Tensor =>
      float32Tensor(
        dims,
        Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => random.normal()),
      );
    const doubled = new Map(
      [...single].map(([name, tensor]) => {
        const isOpen = (axis: number): boolean => typeof declared.get(name)?.[axis] !== 'number';
        const dims = tensor.dims.map((size, axis) => (size === 1 && isOpen(axis) ? batch : size));
        if (dims.length === 2 && isOpen(1) && tensor.dataType === 'float32') dims[1] = SPEECH_WINDOW;
        return [name, tensor.dataType === 'float32' ? normal(dims) : dims.length === 0 ? tensor : bytesIn(dims, random)] as const;
      }),
    );
    await session.run(doubled);
    return doubled;
  } finally {
    await session.close();
  }
}

/** Integers as the bytes of a file: all values are drawn, so that hardly two windows of it are equal. */
function bytesIn(dims: readonly number[], random: PseudoRandom): Tensor {
  const count = dims.reduce((a, b) => a * b, 1);
  return tensorOf(
    'int32',
    dims,
    Int32Array.from({ length: count }, () => random.below(256)),
  );
}

function projection() {
  const projections = new Map<string, { readonly input: string; readonly tensor: Tensor }>();
  const random = pseudoRandom(11);
  const objective: Objective = (scope) => {
    const terms = Array.from({ length: scope.outputCount }, (_, index) => scope.output(index)).map(({ value, dims }) => {
      const numbers = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => random.normal());
      const input = scope.input(`projection_of_${value.name}`, dims);
      projections.set(value.name, { input: input.name, tensor: float32Tensor(dims, numbers) });
      return scope.write.node('ReduceSum', [scope.write.node('Mul', [value, input])], { keepdims: { kind: 'int', value: 0n } });
    });
    return terms.length === 1 && terms[0] ? terms[0] : scope.write.node('Sum', terms);
  };
  return { objective, projections };
}
