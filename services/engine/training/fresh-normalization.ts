/** BatchNormalizations for convolutions whose own were folded away: they change nothing at first, and make larger steps safe. */
import {
  attributeOf,
  cloneModel,
  float32Tensor,
  float32Values,
  type Graph,
  GraphWriter,
  type Model,
  NameAuthority,
  Node,
  type Tensor,
  Value,
} from '../ir/index.js';
import type { Runtime } from '../runtime/execution-session.js';

const EPSILON = 1e-5;

interface ChannelStatistics {
  readonly mean: Float32Array;
  readonly variance: Float32Array;
}

/** Convolutions of the main graph that something other than a normalization reads. */
export function unnormalizedConvolutions(model: Model): Node[] {
  const { graph } = model;
  return graph.nodes.filter((node) => {
    const [output] = node.outputs;
    if (node.opType !== 'Conv' || node.domain !== '' || !output || graph.isOutput(output)) return false;
    const weight = graph.constant(node.inputs[1] ?? null);
    return weight?.dataType === 'float32' && output.consumers.every((reader) => reader.opType !== 'BatchNormalization');
  });
}

export interface NormalizationRequest {
  readonly nodes: readonly Node[];
  /** Feeds to take the statistics from. */
  readonly batches: AsyncIterable<ReadonlyMap<string, Tensor>>;
  readonly runtime: Runtime;
  /** Scale 1 and shift 0, as a network that learns from the beginning has them: outputs are normalized from the first step on. */
  readonly isFresh?: boolean;
}

/**
 * Behind each convolution y of `nodes` a BatchNormalization with running statistics mean(y), var(y), scale sqrt(var(y) + e) and
 * shift mean(y): the identity, until training moves it. It folds into the convolution again afterwards. Edits `model` in place.
 */
export async function insertNormalizations(
  model: Model,
  { nodes, batches, runtime, isFresh = false }: NormalizationRequest,
): Promise<void> {
  const names = nodes.map((node) => node.outputs[0]?.name ?? '');
  const statistics = await channelStatistics(model, { names, batches, runtime });
  const authority = new NameAuthority(model);
  for (const [at, node] of nodes.entries()) {
    const found = statistics[at];
    if (found) insertBehind(model.graph, node, { found, authority, isFresh });
  }
}

function insertBehind(
  graph: Graph,
  node: Node,
  { found, authority, isFresh }: { found: ChannelStatistics; authority: NameAuthority; isFresh: boolean },
): void {
  const output = node.outputs[0] as Value;
  const vector = (part: string, values: Float32Array): Value =>
    graph.addInitializer(authority.valueName(`${output.name}/normalization_${part}`), float32Tensor([values.length], values));
  const normalized = new Value(authority.valueName(`${output.name}/normalized`), output.type);
  for (const { node: reader, index } of output.uses) reader.setInput(index, normalized);
  const inputs = [
    output,
    vector(
      'scale',
      found.variance.map((value) => (isFresh ? 1 : Math.sqrt(value + EPSILON))),
    ),
    vector(
      'shift',
      found.mean.map((value) => (isFresh ? 0 : value)),
    ),
    vector('mean', found.mean),
    vector('variance', found.variance),
  ];
  const name = authority.nodeName(`${node.name || output.name}/normalization`);
  const attributes = { epsilon: attributeOf.float(EPSILON), momentum: attributeOf.float(0.9) };
  graph.insertAfter(node, new Node({ opType: 'BatchNormalization', name, inputs, outputs: [normalized], attributes }));
}

/** Mean and variance per channel over samples and positions, as E y and E y^2 - (E y)^2 of whole batches. */
async function channelStatistics(
  model: Model,
  { names, batches, runtime }: { names: readonly string[]; batches: AsyncIterable<ReadonlyMap<string, Tensor>>; runtime: Runtime },
): Promise<ChannelStatistics[]> {
  const copy = cloneModel(model);
  const write = new GraphWriter(copy, new NameAuthority(copy), copy.graph, 'statistics');
  const values = new Map(
    copy.graph.nodes.flatMap((node) => node.outputs).flatMap((value) => (value ? [[value.name, value] as const] : [])),
  );
  const moments = names.map((name) => {
    const value = values.get(name) as Value;
    return [value, write.node('Mul', [value, value])].map((each) => channelMeans(write, each));
  });
  copy.graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...moments.flat());
  const session = await runtime.open(copy);
  try {
    const sums = moments.map(() => [new Float64Array(), new Float64Array()]);
    let count = 0;
    for await (const feeds of batches) {
      const found = await session.run(feeds);
      for (const [at, pair] of moments.entries())
        for (const [power, value] of pair.entries()) {
          const means = float32Values(found.get(value.name) as Tensor);
          const before = sums[at]?.[power] ?? new Float64Array();
          (sums[at] as Float64Array[])[power] = Float64Array.from(means, (mean, channel) => mean + (before[channel] ?? 0));
        }
      count += 1;
    }
    return sums.map(([first = new Float64Array(), second = new Float64Array()]) => ({
      mean: Float32Array.from(first, (sum) => sum / count),
      variance: Float32Array.from(second, (sum, channel) => Math.max(0, sum / count - ((first[channel] ?? 0) / count) ** 2)),
    }));
  } finally {
    await session.close();
  }
}

/** [N, C, ...] to [C], in operators that every operator set has. */
function channelMeans(write: GraphWriter, value: Value): Value {
  const swapped = write.node('Flatten', [write.node('GlobalAveragePool', [value])]);
  const rows = write.node('Transpose', [swapped], { perm: attributeOf.ints([1, 0]) });
  const asMap = write.node(
    'Unsqueeze',
    write.model.opset >= 13 ? [rows, write.ints([2])] : [rows],
    write.model.opset >= 13 ? {} : { axes: attributeOf.ints([2]) },
  );
  const mean = write.node('Flatten', [
    write.node('GlobalAveragePool', [write.node('Transpose', [asMap], { perm: attributeOf.ints([2, 0, 1]) })]),
  ]);
  mean.type = { kind: 'tensor', dataType: 'float32', shape: null };
  return mean;
}
