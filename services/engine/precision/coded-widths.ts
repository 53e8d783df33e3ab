/** What maps cost in each width when they are coded without loss on their way: measured with the coder itself. */
import { coderTile } from '../accelerators/index.js';
import { cloneModel, float32Values, type Model } from '../ir/index.js';
import { encodeMap, layoutOfMap } from '../map-codec/index.js';
import type { MethodContext, RunSource } from '../method.js';
import { quantizeValue } from '../quantization/quantization-parameters.js';
import type { CodedBits } from './memory-cost.js';
import { bitsOf } from './narrow-codes.js';
import type { NarrowNetwork } from './narrow-network.js';
import type { LowerableMap, NetworkTensors } from './network-tensors.js';

/** Samples that are coded: every width of every map codes each of them. */
const CODED_SAMPLES = 4;
/** Above, each bit more is one that no prediction sees. */
const CODED_WIDTH_MAX = 9;

/** Whether maps are coded without loss by what follows, so that codes that are not used cost nothing. */
export function isCodedLater({ compressed_maps }: { readonly compressed_maps?: boolean }, { followedBy = [] }: MethodContext): boolean {
  return compressed_maps ?? followedBy.includes('activation-compression');
}

export interface CodedWidthsRequest {
  readonly model: Model;
  readonly tensors: NetworkTensors;
  readonly network: NarrowNetwork;
  readonly widths: readonly number[];
  readonly samples: RunSource;
  readonly context: MethodContext;
}

export async function codedBits({ model, tensors, network, widths, samples, context }: CodedWidthsRequest): Promise<CodedBits> {
  const coded = widths.filter((width) => width <= CODED_WIDTH_MAX);
  const widest = Math.max(...coded);
  const tile = coderTile(context.accelerator);
  const sums = new Map<string, { bits: number; values: number }>();
  const session = await context.runtime.open(showing(model, tensors.maps));
  try {
    for await (const { feeds } of samples.runs(1, CODED_SAMPLES)) {
      const results = new Map([...feeds, ...(await session.run(feeds))]);
      for (const map of tensors.maps) {
        context.signal.throwIfAborted();
        const tensor = results.get(map.name);
        if (!tensor) continue;
        /** As it lies in memory: the last of the views, the order in which it is read. */
        const dims = results.get(map.map.names.at(-1) ?? map.name)?.dims ?? tensor.dims;
        const values = float32Values(results.get(map.map.names.at(-1) ?? map.name) ?? tensor);
        for (const width of coded) {
          const codes = network.codes(map, width);
          const integers = Int32Array.from(values, (value) => quantizeValue(value, codes, { min: 0, max: codes.levels - 1 }));
          const bytes = encodeMap(integers, layoutOfMap(dims, { bits: bitsOf(codes), zero: codes.zeroPoint }, tile)).byteLength;
          const sum = sums.get(`${width} ${map.name}`) ?? { bits: 0, values: 0 };
          sums.set(`${width} ${map.name}`, { bits: sum.bits + 8 * bytes, values: sum.values + values.length });
        }
      }
    }
  } finally {
    await session.close();
  }
  return (map, width) => {
    const sum = sums.get(`${Math.min(width, widest)} ${map}`);
    return sum && sum.bits / sum.values + Math.max(0, width - widest);
  };
}

function showing(model: Model, maps: readonly LowerableMap[]): Model {
  const copy = cloneModel(model);
  const names = new Set(maps.flatMap(({ name, map }) => [name, map.names.at(-1) ?? name]));
  for (const { outputs } of copy.graph.nodes)
    for (const value of outputs) if (value && names.has(value.name) && !copy.graph.isOutput(value)) copy.graph.outputs.push(value);
  return copy;
}
