/** Method float16-storage: weights stored in half the bytes and widened to float32 once, when the model is loaded. */
import { float16ToNumber, numberToFloat16 } from '../ir/half-precision.js';
import { attributeOf, elementCount, float32Values, type Model, type Node, type Tensor, tensorOf } from '../ir/index.js';
import type { MethodContext, NodeChange } from '../method.js';
import { nameMatcher } from './name-patterns.js';
import { type Constant, reportName, WeightStore } from './weight-store.js';

export interface Float16StorageOptions {
  /** Names of nodes (* for any characters) whose weights stay float32. */
  readonly exclude?: readonly string[];
  /** Constants with fewer elements stay float32: the Cast in the file takes about 100 bytes. Default 128. */
  readonly min_elements?: number;
}

const METHOD = 'float16-storage';
const MIN_ELEMENTS = 128;
const FLOAT16_MAX = 65_504;
/**
 * Rounding to 11 significant bits changes a normal value by at most 2^-11 of itself, and so the norm of the weight by at most
 * that; twice as much says that subnormal values carry a part of the weight that float16 would lose.
 */
const RELATIVE_ERROR_MAX = 2 ** -10;

/**
 * Replaces float32 constants by float16 constants and a Cast that the runtime folds at load: the artifact halves, the
 * computation stays float32. A constant that several nodes share is converted once. Weights that float16 cannot hold are left.
 */
export async function float16Storage(model: Model, options: Float16StorageOptions, context: MethodContext): Promise<NodeChange[]> {
  const store = new WeightStore(model);
  const isExcluded = nameMatcher(options.exclude ?? []);
  const minElements = options.min_elements ?? MIN_ELEMENTS;
  const report = new Map<Node, { action: 'changed' | 'left'; reasons: string[] }>();
  const note = (reader: Node, action: 'changed' | 'left', reason: string): void => {
    const line = report.get(reader) ?? { action, reasons: [] };
    report.set(reader, { action: line.action === 'changed' ? 'changed' : action, reasons: [...line.reasons, reason] });
  };
  const candidates = store.all().filter(({ tensor }) => tensor.dataType === 'float32' && elementCount(tensor.dims) >= minElements);
  for (const [index, constant] of candidates.entries()) {
    context.signal.throwIfAborted();
    const readers = constant.value.consumers;
    const excluded = readers.find((reader) => isExcluded(reportName(reader)));
    const outcome = excluded ? { reason: `node ${reportName(excluded)} is excluded` } : toFloat16(constant.tensor);
    const label = `"${constant.value.name}" [${constant.tensor.dims}]`;
    if ('reason' in outcome) {
      for (const reader of readers) note(reader, 'left', `weight ${label} stays float32: ${outcome.reason}`);
    } else {
      storeHalf(store, constant, outcome.half);
      for (const reader of readers) note(reader, 'changed', `weight ${label} is stored as float16 and widened when the model is loaded`);
    }
    context.progress((index + 1) / candidates.length, `${index + 1} of ${candidates.length} weights`);
  }
  return [...report].map(([node, { action, reasons }]) => ({
    node: reportName(node),
    op_type: node.opType,
    action,
    by: METHOD,
    reason: reasons.join('; '),
  }));
}

/** The tensor in float16, or why float16 cannot hold it. */
function toFloat16(tensor: Tensor): { half: Tensor } | { reason: string } {
  const values = float32Values(tensor);
  const half = new Uint16Array(values.length);
  let squaredError = 0;
  let squaredNorm = 0;
  for (const [at, value] of values.entries()) {
    if (!Number.isFinite(value)) return { reason: 'it holds a value that is not a finite number' };
    if (Math.abs(value) > FLOAT16_MAX) return { reason: `it holds ${value}, beyond the largest float16 (${FLOAT16_MAX})` };
    const bits = numberToFloat16(value);
    half[at] = bits;
    squaredError += (float16ToNumber(bits) - value) ** 2;
    squaredNorm += value ** 2;
  }
  const error = squaredNorm > 0 ? Math.sqrt(squaredError / squaredNorm) : 0;
  if (error > RELATIVE_ERROR_MAX) return { reason: `its values are too small for float16 (relative error ${error.toExponential(1)})` };
  return { half: tensorOf('float16', tensor.dims, half) };
}

function storeHalf(store: WeightStore, constant: Constant, half: Tensor): void {
  const stored = store.add(constant, '_float16', half);
  store.computeAtLoad(constant, (value) => [
    store.newNode(
      { opType: 'Cast', inputs: [stored.value], outputs: [value], attributes: { to: attributeOf.int(1) } },
      `${value.name}_widened`,
    ),
  ]);
}
