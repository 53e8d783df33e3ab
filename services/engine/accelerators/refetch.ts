/** What a layer has to read again because weights and maps do not fit the buffers at once. */
import type { LayerSizes } from './layer-sizes.js';
import type { NetworkLayer } from './network-layers.js';
import type { AcceleratorProfile } from './profile.js';

export interface RefetchSetting {
  readonly profile: AcceleratorProfile;
  readonly sizes: LayerSizes;
  /** Bytes that one pass over the inputs reads from memory. */
  readonly input_bytes: number;
}

/**
 * With W, I, O the bytes of weights, inputs and outputs, B_w and B_m the buffers:
 * weights come in G = ceil(W / B_w) groups, maps in S strips. When both are many, either the input is read once per group or the
 * weights once per strip:  min((G - 1) I, (S - 1) W).  In tiles every strip after the first reads the (window - stride) rows again that
 * it shares with the one before, in each pass over the input.
 */
export function refetchedBytes(layer: NetworkLayer, { profile, sizes, input_bytes }: RefetchSetting): number {
  const weights = sizes.weights(layer);
  const groups = Math.max(1, Math.ceil(weights / profile.buffers.weight_bytes));
  const tiled = profile.dataflow.kind === 'tiles';
  const strips = tiled ? tileStrips(layer, profile, sizes) : slidingStrips(layer, profile, sizes);
  const halo = tiled ? (strips - 1) * sharedBytes(layer, input_bytes) : 0;
  if (groups === 1 || strips === 1) return halo;
  return Math.min((groups - 1) * (input_bytes + halo), (strips - 1) * weights) + halo;
}

/** Rows slide through the buffer: what all maps take, in buffers. */
function slidingStrips(layer: NetworkLayer, { buffers }: AcceleratorProfile, sizes: LayerSizes): number {
  const bytes = [...layer.inputs, ...layer.outputs].reduce((sum, map) => sum + sizes.held(map), 0);
  return Math.max(1, Math.ceil(bytes / buffers.map_bytes));
}

/**
 * The fewest strips of t output rows with  ((t - 1) stride + window) rows of input + t rows of output <= B_m;  strips of one row where
 * not even that fits (such a row is cut along the width, without overlap worth counting).
 */
function tileStrips(layer: NetworkLayer, { buffers }: AcceleratorProfile, sizes: LayerSizes): number {
  const [input] = layer.inputs;
  const [output] = layer.outputs;
  if (!input || !output) return 1;
  const { rows, stride } = layer.window;
  const others = layer.inputs.slice(1).reduce((sum, map) => sum + sizes.held(map) / output.rows, 0);
  const fixed = (rows - stride) * sizes.row(input);
  const perRow = stride * sizes.row(input) + sizes.row(output) + others;
  const height = Math.max(1, Math.floor((buffers.map_bytes - fixed) / perRow));
  return Math.max(1, Math.ceil(output.rows / height));
}

function sharedBytes({ window, inputs: [input] }: NetworkLayer, input_bytes: number): number {
  return input ? (Math.max(0, window.rows - window.stride) * input_bytes) / Math.max(1, input.rows) : 0;
}
