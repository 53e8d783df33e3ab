/** Opens a model so that it answers as an x64 processor with AVX2 and without VNNI would, on any machine. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Model, Node, Tensor } from '../ir/index.js';
import { integerProducts } from '../quantization/integer-products.js';
import { pairBound, saturates } from '../quantization/saturation-report.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';
import { checkFeeds } from '../runtime/feed-check.js';
import { decodeOptimized } from '../runtime/fusion-report.js';
import { EmulatedGraph } from './emulated-graph.js';
import { type Bindings, bound } from './runtime-segment.js';

export interface EmulationOptions {
  /** Existing private folder; the optimized graph lies there until the session closes, so the model must be below 2 GB. */
  readonly scratch: string;
}

/**
 * The runtime writes the graph as it would run it (level 'extended': fused integer operators, no layouts of one processor).
 * Products that cannot saturate are exact everywhere and stay with the runtime; the others are computed here, pair by pair.
 * Throws what opening throws, and EngineError `model_unsupported` for a saturating operator that is not emulated.
 */
export async function openEmulated(runtime: Runtime, model: string | Model, { scratch }: EmulationOptions): Promise<ExecutionSession> {
  const path = join(scratch, `emulated-${randomUUID()}.onnx`);
  const removeFile = (): Promise<void> => rm(path, { force: true });
  try {
    const plain = await runtime.open(model, { optimization: 'extended', optimizedModelPath: path });
    await plain.close();
    const optimized = decodeOptimized(path, model);
    const graph = new EmulatedGraph(optimized.graph, {
      model: optimized,
      saturating: saturatingNodes(optimized),
      runtime,
      constants: new Map(),
    });
    return sessionOver(optimized, graph, { inputs: plain.inputs, outputs: plain.outputs, onClose: removeFile });
  } catch (error) {
    await removeFile();
    throw error;
  }
}

/** What is still in Q/DQ form in the optimized graph was not fused, and is computed in float. */
function saturatingNodes(model: Model): Set<Node> {
  const fused = integerProducts(model).filter((product) => !product.isDequantized);
  return new Set(fused.flatMap((product) => (saturates(pairBound(product)) ? [product.node] : [])));
}

interface SessionParts extends Pick<ExecutionSession, 'inputs' | 'outputs'> {
  onClose(): Promise<void>;
}

function sessionOver({ graph }: Model, emulated: EmulatedGraph, { inputs, outputs, onClose }: SessionParts): ExecutionSession {
  const outputNames = outputs.map((output) => output.name);
  return {
    inputs,
    outputs,
    async run(feeds, fetches = outputNames) {
      checkFeeds(feeds, inputs);
      const bindings: Bindings = new Map();
      for (const input of graph.inputs) {
        const tensor = feeds.get(input.name);
        if (tensor) bindings.set(input, tensor);
      }
      await emulated.run(bindings);
      const wanted = graph.outputs.filter((output) => fetches.includes(output.name));
      return new Map(wanted.map((output): [string, Tensor] => [output.name, bound(output, bindings)]));
    },
    async close() {
      await emulated.close();
      await onClose();
    },
  };
}
