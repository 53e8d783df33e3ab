/** Which fast kernels the runtime really uses for a model: counts the operators of the graph that it made of it. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Graph, isFloating, type Model, type Node } from '../ir/index.js';
import { allGraphs } from '../ir/traversal.js';
import { decodeModelFile } from '../onnx/index.js';
import type { Runtime } from './execution-session.js';

export interface FusionReport {
  /** Operators of the optimized graph, "domain:" before those that are not ONNX's own, with how often they occur. */
  readonly operators: Readonly<Record<string, number>>;
  /** Compute operators that still work in float on dequantized values, each run anew: slower than the float model. */
  readonly unfused: readonly { readonly node: string; readonly op_type: string }[];
}

/** Operators that have an integer kernel in quantized form (onnxruntime.md 1.3). */
const quantizable: ReadonlySet<string> = new Set(['Conv', 'FusedConv', 'Gemm', 'FusedGemm', 'MatMul', 'FusedMatMul', 'ConvTranspose']);

/** Throws what optimizedModel throws. */
export async function reportFusion(runtime: Runtime, model: string | Model, scratch: string): Promise<FusionReport> {
  return countOperators(await optimizedModel(runtime, model, scratch));
}

/**
 * The graph as the runtime makes it of the model; the bytes of its weights are gone. Loads the model once at level
 * 'extended' (names stay readable, no blocked layouts) and writes it to `scratch` whole, so it
 * must be below 2 GB: with external data onnxruntime 1.30 writes the constants of branches twice. Throws what opening throws.
 */
export async function optimizedModel(runtime: Runtime, model: string | Model, scratch: string): Promise<Model> {
  const path = join(scratch, `optimized-${randomUUID()}.onnx`);
  try {
    const session = await runtime.open(model, { optimization: 'extended', optimizedModelPath: path });
    await session.close();
    return decodeOptimized(path, model);
  } finally {
    await rm(path, { force: true });
  }
}

/** The graph that the runtime wrote to `path` for `model`: weights that lay beside the file of `model` still lie there. */
export function decodeOptimized(path: string, model: string | Model): Model {
  return decodeModelFile(path, typeof model === 'string' ? { dataFolder: dirname(model) } : {});
}

function countOperators(model: Model): FusionReport {
  const counts = new Map<string, number>();
  const unfused: { node: string; op_type: string }[] = [];
  for (const graph of allGraphs(model)) {
    for (const node of graph.nodes) {
      const operator = node.domain ? `${node.domain}:${node.opType}` : node.opType;
      counts.set(operator, (counts.get(operator) ?? 0) + 1);
      if (quantizable.has(node.opType) && readsDequantized(node, graph)) {
        unfused.push({ node: node.name || (node.outputs[0]?.name ?? ''), op_type: node.opType });
      }
    }
  }
  return { operators: Object.fromEntries([...counts].sort(([a], [b]) => a.localeCompare(b))), unfused };
}

function readsDequantized(node: Node, graph: Graph): boolean {
  return node.inputs.some((value) => {
    const producer = value?.producer;
    if (producer?.opType !== 'DequantizeLinear') return false;
    const scale = graph.constant(producer.inputs[1] ?? null);
    return !scale || isFloating(scale.dataType);
  });
}
