/** Bytes and picojoules against sums made by hand, one dataflow after the other. */
import { expect, test } from 'vitest';
import {
  type AcceleratorProfile,
  coderTile,
  type Dataflow,
  type NetworkLayers,
  networkLayers,
  offChipTraffic,
  shippedProfile,
  shippedProfiles,
} from '../../../../services/engine/accelerators/index.js';
import { buildModel, weights } from '../../../support/build-model.js';

const SIZE = 16;

/** Two 3x3 convolutions 1 -> 4 -> 2 on 16 x 16: 36 and 72 weights, maps of 256, 1024 and 512 elements. */
const network: NetworkLayers = (() => {
  const attributes = {
    kernel_shape: { kind: 'ints', value: [3n, 3n] },
    pads: { kind: 'ints', value: [1n, 1n, 1n, 1n] },
  } as const;
  const map = (channels: number): number[] => [1, channels, SIZE, SIZE];
  const model = buildModel({
    inputs: [{ name: 'x', shape: map(1) }],
    outputs: [{ name: 'y', shape: map(2) }],
    constants: { w: weights([4, 1, 3, 3]), v: weights([2, 4, 3, 3]) },
    nodes: [
      { opType: 'Conv', name: 'first', inputs: ['x', 'w'], outputs: ['a'], attributes },
      { opType: 'Relu', inputs: ['a'], outputs: ['b'] },
      { opType: 'Conv', name: 'second', inputs: ['b', 'v'], outputs: ['y'], attributes },
    ],
  });
  return networkLayers(model, new Map([...'ab'].map((name) => [name, map(4)] as const)));
})();

const profile = (dataflow: Dataflow, weight_bytes: number, map_bytes: number): AcceleratorProfile => ({
  name: 'test',
  title: 'test',
  source: 'made up',
  buffers: { weight_bytes, map_bytes },
  words: { weights: [4, 8, 16], maps: [8, 16] },
  dataflow,
  picojoules: {
    dram_byte: 100,
    sram_byte: 1,
    multiply: [
      { bits: 8, picojoules: 0.25 },
      { bits: 16, picojoules: 1 },
    ],
  },
});
const large = 1e6;

test('layer by layer: weights once, every map written and read once, in 16 bit', () => {
  const { layers, total } = offChipTraffic(network, profile({ kind: 'layer-by-layer' }, large, large), {});
  expect(layers.map(({ weight_bytes, input_bytes, output_bytes }) => [weight_bytes, input_bytes, output_bytes])).toEqual([
    [72, 512, 2048],
    [144, 2048, 1024],
  ]);
  const bytes = 72 + 144 + 512 + 2 * 2048 + 1024;
  const macs = 1024 * 9 + 512 * 4 * 9;
  expect(total).toMatchObject({
    bytes,
    refetch_bytes: 0,
    macs,
    dram_picojoules: 100 * bytes,
    sram_picojoules: 2 * bytes,
    compute_picojoules: macs,
  });
});

test('a code takes the narrowest word that holds it; compressed maps move fewer bytes', () => {
  const widths = { weights: new Map([['v', 5]]), maps: new Map([['b', 6]]) };
  const plain = offChipTraffic(network, profile({ kind: 'layer-by-layer' }, large, large), widths);
  expect(plain.layers[1]).toMatchObject({ weight_bytes: 72, input_bytes: 1024, compute_picojoules: 512 * 36 * 0.25 });
  const compressed = offChipTraffic(network, profile({ kind: 'layer-by-layer' }, large, large), {
    ...widths,
    compressed: new Map([['b', 2.5]]),
  });
  expect(compressed.layers[1]?.input_bytes).toBe((1024 * 2.5) / 8);
});

test('what does not fit is fetched again, whichever is cheaper: the input per group of weights, or the weights per strip of rows', () => {
  const again = (weightBuffer: number, mapBuffer: number): number | undefined =>
    offChipTraffic(network, profile({ kind: 'layer-by-layer' }, weightBuffer, mapBuffer), {}).layers[1]?.refetch_bytes;
  // 144 bytes of weights in 3 groups; 3072 bytes of maps in 2 strips: min(2 * 2048, 1 * 144).
  expect(again(48, 2000)).toBe(144);
  // 2 groups, 307 strips: min(2048, 306 * 144).
  expect(again(72, 10)).toBe(2048);
  expect(again(48, large)).toBe(0);
  expect(again(large, 10)).toBe(0);
});

test('tiles read the rows again that neighbours share', () => {
  // A row of b has 128 bytes, one of y 64. Strips of t rows: (t + 2) 128 + t 64 <= 1024 gives t = 4, so 4 strips and 3 borders of 2 rows.
  const { layers } = offChipTraffic(network, profile({ kind: 'tiles' }, large, 1024), {});
  expect(layers[1]?.refetch_bytes).toBe(3 * 2 * 128);
});

test('fused rows: the map between two layers never leaves the chip when weights and windows fit', () => {
  // 4 rows of x (32 bytes each), 4 of b (128), one of y (64): 704 bytes; 216 bytes of weights.
  const bytes = (weightBuffer: number, mapBuffer: number) =>
    offChipTraffic(network, profile({ kind: 'fused-rows' }, weightBuffer, mapBuffer), {}).total.bytes;
  expect(bytes(216, 704)).toBe(216 + 512 + 1024);
  const apart = 216 + 512 + 4096 + 1024;
  expect(bytes(216, 703)).toBe(apart);
  // The second convolution alone does not fit either: its 144 bytes come in one group.
  expect(bytes(215, 704)).toBe(apart);
});

test('maps stay on the chip where all that is alive fits', () => {
  const bytes = (mapBuffer: number) =>
    offChipTraffic(network, profile({ kind: 'layer-by-layer', keeps_maps: true }, large, mapBuffer), {}).total.bytes;
  expect(bytes(2048 + 1024)).toBe(216 + 512 + 1024);
  expect(bytes(2048 + 1023)).toBe(216 + 512 + 4096 + 1024);
});

test('on every shipped profile fewer bits never cost more', () => {
  for (const shipped of shippedProfiles) {
    const cost = Array.from({ length: 15 }, (_, index) => {
      const bits = 16 - index;
      const all = (names: readonly string[]) => new Map(names.map((name) => [name, bits] as const));
      const { total } = offChipTraffic(network, shipped, { weights: all(['w', 'v']), maps: all(['x', 'b', 'y']) });
      return total.dram_picojoules + total.sram_picojoules + total.compute_picojoules;
    });
    for (const [index, each] of cost.slice(1).entries()) expect(each).toBeLessThanOrEqual(cost[index] ?? 0);
    expect(shipped.source.length).toBeGreaterThan(80);
    expect(shippedProfile(shipped.name)).toBe(shipped);
  }
});

test('rows that strips share can be read alone; elsewhere rows are coded together', () => {
  expect(coderTile(shippedProfile('dpu-pow2')).rows).toBe(1);
  expect(coderTile(shippedProfile('eyeriss-16')).rows).toBe(8);
});

test('an unknown profile is refused with the names there are', () => {
  expect(() => shippedProfile('abacus')).toThrow(/There is no accelerator "abacus"\. Name one of eyeriss-16, .*, or give a profile/);
});
