/** The coder of maps: exact on a million random maps, and how near it comes to the entropy of differences on maps of real networks. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { networkLayers } from '../../services/engine/accelerators/index.js';
import { cloneModel, float32Tensor, float32Values, type Model, type Tensor } from '../../services/engine/ir/index.js';
import {
  CodeEntropy,
  type CodingCounts,
  decodeMap,
  encodeMap,
  layoutOfMap,
  operationsPerValue,
} from '../../services/engine/map-codec/index.js';
import { decodeModelFile } from '../../services/engine/onnx/index.js';
import {
  affineParameters,
  type QuantizationParameters,
  quantizeValue,
} from '../../services/engine/quantization/quantization-parameters.js';
import type { ExecutionSession } from '../../services/engine/runtime/execution-session.js';
import { observeShapes } from '../../services/engine/runtime/observe-shapes.js';
import { luma, readPicture, resizeBicubic } from '../quantization/images.js';
import { dataFolder } from '../quantization/subjects.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { exactMaps, nearEntropy } from './thresholds.js';

const RANDOM_MAPS = 1_000_000;
const RANGE_PICTURES = 16;
const BITS = [8, 7, 6] as const;

export async function codecSection(bench: Workbench): Promise<void> {
  randomMaps(bench);
  for (const name of ['espcn_x3', 'fsrcnn_x3']) await attempt(bench, { section: 'codec', subject: name }, () => networkMaps(bench, name));
}

/** Lehmer's generator with the multiplier of Park and Miller. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
}

/** Noise, walks, sparse and flat maps of 0 to 4 axes, in 1 to 16 bits, with any zero and any tile. */
function randomMaps(bench: Workbench): void {
  const below = generator(20261127);
  let [wrong, values, bytes] = [0, 0, 0];
  const started = performance.now();
  for (let map = 0; map < RANDOM_MAPS; map++) {
    const bits = 1 + below(16);
    const high = 2 ** bits;
    const layout = layoutOfMap(
      Array.from({ length: below(5) }, () => below(9)),
      { bits, zero: below(3) === 0 ? below(high) : 0 },
      { rows: 1 + below(9), columns: 1 + below(20) },
    );
    const [roughness, sparse] = [[1, 2, 8, high][below(4)] ?? 1, below(3) === 0];
    let walk = below(high);
    const codes = Int32Array.from({ length: layout.planes * layout.rows * layout.columns }, () => {
      walk = Math.min(high - 1, Math.max(0, walk + below(2 * roughness - 1) - roughness + 1));
      return sparse && below(4) > 0 ? layout.zero : walk;
    });
    const coded = encodeMap(codes, layout);
    const decoded = decodeMap(coded).codes;
    if (decoded.length !== codes.length || codes.some((code, at) => code !== decoded[at])) wrong += 1;
    values += codes.length;
    bytes += coded.byteLength;
  }
  const seconds = (performance.now() - started) / 1000;
  bench.tell({ section: 'codec', subject: 'random maps', maps: RANDOM_MAPS, values, bytes, wrong, seconds });
  bench.judge('random maps', 'maps decoded to something else', { measured: wrong, bound: exactMaps });
}

/** Ranges of T91, maps of Set5. */
async function networkMaps(bench: Workbench, name: string): Promise<void> {
  const model = decodeModelFile(join(dataFolder, `superres/models/${name}.onnx`));
  const maps = await innerMaps(bench, model);
  const session = await bench.runtime.open(showing(model, maps));
  try {
    const ranges = new Map(maps.map((map) => [map, { min: 0, max: 0 }]));
    for (const picture of pictures('T91', RANGE_PICTURES)) {
      for (const [map, tensor] of await shown(session, maps, picture)) {
        const range = ranges.get(map) ?? { min: 0, max: 0 };
        for (const value of float32Values(tensor)) [range.min, range.max] = [Math.min(range.min, value), Math.max(range.max, value)];
      }
    }
    for (const bits of BITS) {
      const codes = { min: 0, max: 2 ** bits - 1 };
      const parameters = new Map([...ranges].map(([map, range]) => [map, affineParameters(range, codes)]));
      await codedAt(bench, { name, session, maps, bits, parameters });
    }
  } finally {
    await session.close();
  }
}

interface Coding {
  readonly name: string;
  readonly session: ExecutionSession;
  readonly maps: readonly string[];
  readonly bits: number;
  readonly parameters: ReadonlyMap<string, QuantizationParameters>;
}

async function codedAt(bench: Workbench, { name, session, maps, bits, parameters }: Coding): Promise<void> {
  const tallies = new Map(
    maps.map((map) => [map, { entropy: new CodeEntropy(bits), counts: { predicted: [] } as CodingCounts, values: 0, bytes: 0 }]),
  );
  const range = { min: 0, max: 2 ** bits - 1 };
  for (const picture of pictures('Set5')) {
    for (const [map, tensor] of await shown(session, maps, picture)) {
      const [tally, how] = [tallies.get(map), parameters.get(map)];
      if (!tally || !how) continue;
      const codes = Int32Array.from(float32Values(tensor), (value) => quantizeValue(value, how, range));
      const layout = layoutOfMap(tensor.dims, { bits, zero: how.zeroPoint });
      tally.entropy.add(codes, layout);
      tally.bytes += encodeMap(codes, layout, tally.counts).byteLength;
      tally.values += codes.length;
    }
  }
  for (const [map, { entropy, counts, values, bytes }] of tallies) {
    const coded = (8 * bytes) / values;
    const [value_entropy, delta_entropy] = [entropy.ofValues, entropy.ofDeltas];
    const to_entropy = coded / delta_entropy;
    bench.tell({
      ...{ section: 'codec', subject: name, map, bits, bits_per_value: coded, value_entropy, delta_entropy, to_entropy },
      decode_operations: operationsPerValue(counts).decode,
    });
    if (name === 'espcn_x3')
      bench.judge(`${name} ${map}, ${bits} bit`, 'coded bits over the entropy of differences', {
        measured: to_entropy,
        bound: nearEntropy,
      });
  }
}

/** Maps between the layers, by name. */
async function innerMaps(bench: Workbench, model: Model): Promise<string[]> {
  const feeds = new Map([['input', float32Tensor([1, 1, 24, 24], new Float32Array(576))]]);
  const { shapes } = await observeShapes(bench.runtime, { model, feeds });
  return networkLayers(model, shapes).maps.flatMap(({ names: [name], isInterface }) => (isInterface || name === undefined ? [] : [name]));
}

function showing(model: Model, maps: readonly string[]): Model {
  const copy = cloneModel(model);
  for (const node of copy.graph.nodes)
    for (const value of node.outputs) if (value && maps.includes(value.name)) copy.graph.outputs.push(value);
  return copy;
}

interface LowResolution {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

async function shown(
  session: ExecutionSession,
  maps: readonly string[],
  { width, height, data }: LowResolution,
): Promise<Map<string, Tensor>> {
  const values = Float32Array.from(data, (byte) => byte / 255);
  return session.run(new Map([['input', float32Tensor([1, 1, height, width], values)]]), maps);
}

/** Luma of a third of the size. */
function* pictures(folder: string, count = Number.POSITIVE_INFINITY): Generator<LowResolution> {
  const names = readdirSync(join(dataFolder, 'superres', folder)).filter((name) => name.endsWith('.png'));
  for (const name of names.sort().slice(0, count)) {
    const full = luma(readPicture(join(dataFolder, 'superres', folder, name)));
    const [width, height] = [Math.floor(full.width / 3), Math.floor(full.height / 3)];
    const data = Uint8Array.from(
      { length: 9 * width * height },
      (_, at) => full.data[Math.floor(at / (3 * width)) * full.width + (at % (3 * width))] ?? 0,
    );
    yield resizeBicubic({ width: 3 * width, height: 3 * height, data }, width, height);
  }
}
