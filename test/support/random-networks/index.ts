/** Random networks for tests of rewrites that change shapes: what trained models are made of, in any order. */
import fc from 'fast-check';
import { attributeOf, float32Tensor, type Model, type Tensor } from '../../../services/engine/ir/index.js';
import { type Block, conv, imageBlocks } from './image-blocks.js';
import { BATCH, NetworkWriter, type Signal } from './network-writer.js';
import { sequenceBlocks, vectorBlocks } from './sequence-blocks.js';

export interface RandomNetwork {
  readonly seed: number;
  readonly model: Model;
  readonly feeds: ReadonlyMap<string, Tensor>;
  /** Names of the blocks in it. */
  readonly blocks: readonly string[];
}

/** Images become sequences of their pixels, or vectors. */
const bridges: Readonly<Record<string, Block>> = {
  'pixels as sequence': (writer, input) => {
    const [channels = 1, height = 1, width = 1] = input.dims;
    const flat = writer.reshape(input.name, [0, channels, -1]);
    return writer.add('sequence', writer.transpose(flat, [0, 2, 1]), [height * width, channels]);
  },
  flatten: (writer, input) => {
    const count = input.dims.reduce((product, size) => product * size, 1);
    const name = writer.chance(0.5) ? writer.node('Flatten', [input.name]) : writer.reshape(input.name, [0, writer.pick([-1, count])]);
    return writer.add('vector', name, [count]);
  },
  'global mean': (writer, input) => {
    const name = writer.node('ReduceMean', [input.name], { axes: attributeOf.ints([2, 3]), keepdims: attributeOf.int(0) });
    return writer.add('vector', name, [input.dims[0] ?? 1]);
  },
};

const blocksOf = { image: { ...imageBlocks, ...bridges }, sequence: sequenceBlocks, vector: vectorBlocks } as const;
export const blockNames: readonly string[] = Object.values(blocksOf).flatMap((blocks) => Object.keys(blocks));

/** Largest number of elements of one value: growth by blocks that enlarge ends there. */
const ELEMENTS_MAX = 1500;

function step(writer: NetworkWriter): void {
  const kinds = ['image', 'sequence', 'vector'] as const;
  const present = kinds.filter((kind) => writer.choose(kind));
  const kind = writer.pick(present);
  const input = writer.choose(kind);
  const [name, block] = writer.pick(Object.entries<Block>(blocksOf[kind]));
  if (!input || input.dims.reduce((product, size) => product * size, 1) > ELEMENTS_MAX) return;
  if (block(writer, input)) writer.blocks.push(name);
}

/** A layer behind each signal that nobody reads makes its channels free. */
function close(writer: NetworkWriter, signal: Signal): Signal {
  if (writer.chance(0.1)) return signal;
  const [first = 1, second = 1] = signal.dims;
  if (signal.kind === 'image') return conv(writer, signal, 2);
  const width = signal.kind === 'sequence' ? second : first;
  const name = writer.node('MatMul', [signal.name, writer.weights([width, 2], 1 / Math.sqrt(width))]);
  return { name, kind: signal.kind, dims: [...signal.dims.slice(0, -1), 2] };
}

export function makeNetwork(seed: number): RandomNetwork {
  const writer = new NetworkWriter(seed, 12 + 5 * (seed % 2));
  const isImage = writer.chance(0.65);
  const dims = isImage ? [3, 4, 4] : [4, 5];
  const input = writer.add(isImage ? 'image' : 'sequence', 'x', dims);
  // The input's own channels never go: a layer in front, or most blocks have nothing to do.
  if (isImage) conv(writer, input, writer.between(4, 8), { kernel: 3 });
  else
    writer.add('sequence', writer.node('MatMul', ['x', writer.weights([5, writer.between(4, 8)])]), [4, writer.constants.c1?.dims[1] ?? 4]);
  const steps = writer.between(1, 9);
  for (let at = 0; at < steps; at += 1) step(writer);
  const ends = writer.loose().filter(({ name }) => name !== 'x');
  const outputs = ends.map((end) => close(writer, end));
  const model = writer.finish([{ name: 'x', shape: ['n', ...dims] }], outputs);
  const count = BATCH * dims.reduce((product, size) => product * size, 1);
  const x = float32Tensor(
    [BATCH, ...dims],
    Float32Array.from({ length: count }, () => writer.random() * 2 - 1),
  );
  return { seed, model, feeds: new Map([['x', x]]), blocks: writer.blocks };
}

/** Shrinks to smaller seeds only: a network is a function of its seed. */
export const randomNetwork: fc.Arbitrary<RandomNetwork> = fc.noBias(fc.nat(2 ** 31 - 1)).map(makeNetwork);
