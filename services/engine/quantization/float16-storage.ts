/** Method float16-storage: weights stored in half the bytes and widened to float32 once, when the model is loaded. */
import { attributeOf, elementCount, float32Values, type Model, type Node, type Tensor, tensorOf } from '../ir/index.js';
import { nameMatcher } from '../layers/name-patterns.js';
import { type Constant, reportName, WeightStore } from '../layers/weight-store.js';
import type { MethodContext, NodeChange } from '../method.js';
import { type HalfFormat, halfFormats } from './float16/half-format.js';

export interface Float16StorageOptions {
  /** Names of nodes (* for any characters) whose weights stay float32. */
  readonly exclude?: readonly string[];
  /** Constants with fewer elements stay float32: the Cast in the file takes about 100 bytes. Default 128. */
  readonly min_elements?: number;
}

const METHOD = 'float16-storage';
const MIN_ELEMENTS = 128;

/** How constants are to be stored; `by` is the name of the method in the report. */
export interface HalfStorage extends Float16StorageOptions {
  readonly format: HalfFormat;
  readonly by: string;
  /** Weights that one of these operators reads stay float32. */
  readonly keepOpTypes?: ReadonlySet<string>;
}

export function float16Storage(model: Model, options: Float16StorageOptions, context: MethodContext): Promise<NodeChange[]> {
  return storeInHalf(model, { ...options, format: halfFormats.float16, by: METHOD }, context);
}

/**
 * Replaces float32 constants by 16 bit constants and a Cast that the runtime folds at load: the artifact halves, the
 * computation stays float32. A constant that several nodes share is converted once. Weights that the format cannot hold are left.
 */
export async function storeInHalf(model: Model, storage: HalfStorage, context: MethodContext): Promise<NodeChange[]> {
  const { format, by, keepOpTypes } = storage;
  const store = new WeightStore(model);
  const isExcluded = nameMatcher(storage.exclude ?? []);
  const isKept = (reader: Node): boolean => isExcluded(reportName(reader)) || (keepOpTypes?.has(reader.opType) ?? false);
  const minElements = storage.min_elements ?? MIN_ELEMENTS;
  const report = new Map<Node, { action: 'changed' | 'left'; reasons: string[] }>();
  const note = (reader: Node, action: 'changed' | 'left', reason: string): void => {
    const line = report.get(reader) ?? { action, reasons: [] };
    report.set(reader, { action: line.action === 'changed' ? 'changed' : action, reasons: [...line.reasons, reason] });
  };
  const candidates = store.all().filter(({ tensor }) => tensor.dataType === 'float32' && elementCount(tensor.dims) >= minElements);
  for (const [index, constant] of candidates.entries()) {
    context.signal.throwIfAborted();
    const readers = constant.value.consumers;
    const kept = readers.find(isKept);
    const outcome = kept ? { reason: `node ${reportName(kept)} is excluded` } : toHalf(constant.tensor, format);
    const label = `"${constant.value.name}" [${constant.tensor.dims}]`;
    if ('reason' in outcome) {
      for (const reader of readers) note(reader, 'left', `weight ${label} stays float32: ${outcome.reason}`);
    } else {
      storeHalf(store, constant, outcome.half);
      for (const reader of readers)
        note(reader, 'changed', `weight ${label} is stored as ${format.type} and widened when the model is loaded`);
    }
    context.progress((index + 1) / candidates.length, `${index + 1} of ${candidates.length} weights`);
  }
  return [...report].map(([node, { action, reasons }]) => ({
    node: reportName(node),
    op_type: node.opType,
    action,
    by,
    reason: reasons.join('; '),
  }));
}

/**
 * The tensor in the format, or why the format cannot hold it. Rounding changes a normal value, and so the norm of the weight,
 * by at most the round-off; twice as much says that subnormal values carry a part of the weight that the format would lose.
 */
function toHalf(tensor: Tensor, format: HalfFormat): { half: Tensor } | { reason: string } {
  const values = float32Values(tensor);
  const half = new Uint16Array(values.length);
  let squaredError = 0;
  let squaredNorm = 0;
  for (const [at, value] of values.entries()) {
    if (!Number.isFinite(value)) return { reason: 'it holds a value that is not a finite number' };
    if (Math.abs(value) > format.max) return { reason: `it holds ${value}, beyond the largest ${format.type} (${format.max})` };
    const bits = format.encode(value);
    half[at] = bits;
    squaredError += (format.decode(bits) - value) ** 2;
    squaredNorm += value ** 2;
  }
  const error = squaredNorm > 0 ? Math.sqrt(squaredError / squaredNorm) : 0;
  if (error > 2 * format.roundOff)
    return { reason: `its values are too small for ${format.type} (relative error ${error.toExponential(1)})` };
  return { half: tensorOf(format.type, tensor.dims, half) };
}

function storeHalf(store: WeightStore, constant: Constant, half: Tensor): void {
  const stored = store.add(constant, `_${half.dataType}`, half);
  store.computeAtLoad(constant, (value) => [
    store.newNode(
      { opType: 'Cast', inputs: [stored.value], outputs: [value], attributes: { to: attributeOf.int(1) } },
      `${value.name}_widened`,
    ),
  ]);
}
