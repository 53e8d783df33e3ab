/** Channels per block of the layout in which the runtime convolves on this machine. */
import { float32Tensor, float32Values, Graph, Model, Node, Value } from '../ir/index.js';
import type { Runtime } from './execution-session.js';

const CHANNELS = 64;
const DOMAIN = 'com.microsoft.nchwc';

const found = new WeakMap<Runtime, Promise<number>>();

/** 8 or 16 by the vectors of the processor; 0 where the runtime has no blocked kernels. Measured once per runtime. */
export function channelBlock(runtime: Runtime): Promise<number> {
  const known = found.get(runtime) ?? probe(runtime).catch(() => 0);
  found.set(runtime, known);
  return known;
}

/** [1, C, 1, 2] of C channels at position 0, then at position 1: the second position of channel 0 moves behind the first block. */
async function probe(runtime: Runtime): Promise<number> {
  const graph = new Graph('channel block');
  const dims = [1, CHANNELS, 1, 2];
  const x = new Value('x', { kind: 'tensor', dataType: 'float32', shape: dims });
  const y = new Value('y', { kind: 'tensor', dataType: 'float32', shape: dims });
  const blocked = new Value('blocked');
  graph.inputs.push(x);
  graph.append(
    new Node({ opType: 'ReorderInput', domain: DOMAIN, name: 'reorder', inputs: [x], outputs: [blocked] }),
    new Node({ opType: 'Identity', name: 'identity', inputs: [blocked], outputs: [y] }),
  );
  graph.outputs.push(y);
  const model = new Model(graph);
  model.opsetImports.set('', 18);
  model.opsetImports.set(DOMAIN, 1);
  const session = await runtime.open(model);
  try {
    const ramp = float32Tensor(
      dims,
      Float32Array.from({ length: 2 * CHANNELS }, (_, at) => at),
    );
    const result = await session.run(new Map([['x', ramp]]));
    const values = result.get('y');
    const block = values ? float32Values(values).indexOf(1) : 0;
    return block > 1 && CHANNELS % block === 0 ? block : 0;
  } finally {
    await session.close();
  }
}
