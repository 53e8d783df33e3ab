/** A model that takes one sample per run, as one that takes any number: a step learns from many samples, whatever the file declares. */
import { answersAlike } from '../evaluation/batch-size.js';
import { cloneModel, type Graph, GraphWriter, intAttribute, integerValues, type Model, NameAuthority, type Value } from '../ir/index.js';
import type { Runtime } from '../runtime/execution-session.js';
import type { TrainingData, TrainingRows } from './training-data.js';

const PROBED_SAMPLES = 4;

/**
 * Copies of `models` without the 1 that they declare as the size of their batch, in the types of values and as the first size of a
 * Reshape. Undefined unless each of them then answers for samples of `data` together as one by one: a 1 may be something else, and
 * other operators may have it built in.
 */
export async function batchedModels(models: readonly Model[], data: TrainingData, runtime: Runtime): Promise<Model[] | undefined> {
  const copies = models.map(withFreeBatch);
  return (await answerOneByOne(copies, data, runtime)) ? copies : undefined;
}

/** Whether each of `models` answers for samples of `data` together as one by one. */
export async function answerOneByOne(models: readonly Model[], data: TrainingData, runtime: Runtime): Promise<boolean> {
  const probed = Array.from({ length: Math.min(PROBED_SAMPLES, data.sampleCount) }, (_, sample) => sample);
  if (probed.length < 2 || !data.joinable) return false;
  const singles = await Promise.all(probed.map((sample) => data.rows([sample])));
  const together = await data.rows(probed);
  for (const model of models) if (!(await isBatched(model, { together, singles, runtime }))) return false;
  return true;
}

async function isBatched(
  model: Model,
  { together, singles, runtime }: { readonly together: TrainingRows; readonly singles: readonly TrainingRows[]; readonly runtime: Runtime },
): Promise<boolean> {
  const session = await runtime.open(model).catch(() => undefined);
  if (!session) return false;
  try {
    return await answersAlike(session, together, singles);
  } catch {
    /** A batch of another size is built in. */
    return false;
  } finally {
    await session.close();
  }
}

function withFreeBatch(model: Model): Model {
  const copy = cloneModel(model);
  const { graph } = copy;
  for (const value of [...graph.inputs, ...graph.outputs]) freeFirstSize(value);
  /** What else is declared follows from these. */
  for (const value of graph.nodes.flatMap(({ outputs }) => outputs)) if (value && !graph.isOutput(value)) value.type = null;
  freeReshapes(graph, new GraphWriter(copy, new NameAuthority(copy), graph, 'batch'));
  return copy;
}

function freeFirstSize(value: Value): void {
  const { type } = value;
  if (type?.kind === 'tensor' && type.shape?.[0] === 1) value.type = { ...type, shape: [null, ...type.shape.slice(1)] };
}

/** A size of 0 copies that of the input (ONNX Reshape). */
function freeReshapes(graph: Graph, write: GraphWriter): void {
  for (const node of [...graph.nodes]) {
    if (node.opType !== 'Reshape' || node.domain !== '' || intAttribute(node, 'allowzero', 0) !== 0) continue;
    const sizes = graph.constant(node.inputs[1] ?? null);
    const [first, ...others] = sizes ? integerValues(sizes) : [];
    if (first === 1 && others.length > 0) node.setInput(1, write.ints([0, ...others]));
  }
}
