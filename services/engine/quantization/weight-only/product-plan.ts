/** Decides for every product between the runtime's kernel for few bits and weights widened at load, by measuring both once for each distinct shape. */
import { attributeOf, float32Tensor, type Model, Node, type Tensor, tensorOf, type Value } from '../../ir/index.js';
import type { DenseLayer } from '../../layers/dense-layers.js';
import type { MethodContext } from '../../method.js';
import { type ObservedActivation, observeActivations } from '../../timing/observed-activations.js';
import { runsOnTarget } from '../../timing/target-machine.js';
import { timedDense } from '../compute-plan.js';
import { type LayerTiming, type TimedLayer, timeLayer } from '../layer-timing.js';
import type { BlockScheme } from './blocked-weights.js';

/** 'kernel': the product reads the codes. 'widened': the codes become float32 when the model is loaded. */
export interface ProductDecision {
  readonly form: 'kernel' | 'widened';
  /** Clause for the report that gives the ground; empty where nothing had to be decided. */
  readonly ground: string;
  /** Microseconds of the float layer and of the form that was chosen. */
  readonly timing?: { readonly before: number; readonly after: number };
}

export interface PlannedProduct {
  readonly layer: DenseLayer;
  readonly scheme: BlockScheme;
  readonly accuracyLevel: 1 | 4;
  /** Why the kernel cannot take this layer. */
  readonly obstacle: string | null;
}

/** Differences below this are noise of the measurement. */
const LOSS_MAX = 1.03;
/** Distinct shapes that are measured, the largest first; the rest are widened, which costs nothing. */
const MEASURED_MAX = 24;

/**
 * Why MatMulNBits has no fast kernel for this form, so that it would unpack the weights in every run (onnxruntime.md 1.5): 8 and 2 bits
 * are only fast with int8 activations, 2 bits only in blocks of 32, 64 or 128.
 */
export function slowKernel({ bits, blockSize }: BlockScheme, accuracyLevel: 1 | 4): string | null {
  if (bits !== 4 && accuracyLevel !== 4)
    return `the runtime has no fast kernel for ${bits} bits with float32 activations (accuracy_level 1)`;
  if (bits === 2 && ![32, 64, 128].includes(blockSize)) return `the runtime has no fast kernel for 2 bits in blocks of ${blockSize}`;
  return null;
}

export async function planProducts(
  model: Model,
  products: readonly PlannedProduct[],
  context: MethodContext,
): Promise<Map<DenseLayer, ProductDecision>> {
  const decisions = new Map<DenseLayer, ProductDecision>();
  const free = products.filter((product) => {
    const obstacle = product.obstacle ?? slowKernel(product.scheme, product.accuracyLevel);
    decisions.set(product.layer, { form: obstacle === null ? 'kernel' : 'widened', ground: obstacle ?? '' });
    return obstacle === null;
  });
  if (context.objective === 'size' || free.length === 0 || !runsOnTarget(context)) return decisions;
  const activations = free.map(({ layer }) => layer.activation);
  for (const [layer, decision] of await measuredDecisions(free, await observeActivations(model, activations, context), context)) {
    decisions.set(layer, decision);
  }
  return decisions;
}

async function measuredDecisions(
  products: readonly PlannedProduct[],
  observed: ReadonlyMap<Value, ObservedActivation>,
  context: MethodContext,
): Promise<Map<DenseLayer, ProductDecision>> {
  const timings = new Map<string, LayerTiming>();
  const decisions = new Map<DenseLayer, ProductDecision>();
  for (const product of [...products].sort((a, b) => weightCount(b.layer) - weightCount(a.layer))) {
    context.signal.throwIfAborted();
    const timed = timedProduct(product, observed.get(product.layer.activation)?.dims);
    const { bits, blockSize, symmetric } = product.scheme;
    const key = [timed.activationDims, timed.outputDims, product.layer.bias !== null, bits, blockSize, symmetric].join();
    if (!timings.has(key) && timings.size < MEASURED_MAX) timings.set(key, await timeLayer(context.runtime, timed));
    const timing = timings.get(key);
    decisions.set(product.layer, timing ? decisionFrom(timing, timed.activationDims) : unmeasured);
  }
  return decisions;
}

const unmeasured: ProductDecision = { form: 'widened', ground: 'not measured (more distinct layers than are timed)' };

function weightCount({ depth, channels }: DenseLayer): number {
  return depth * channels;
}

function decisionFrom({ float, integer }: LayerTiming, dims: readonly number[]): ProductDecision {
  const measured = `measured ${float.toFixed(1)} us in float32 and ${integer.toFixed(1)} us in MatMulNBits for an activation [${dims}]`;
  return integer <= float * LOSS_MAX
    ? { form: 'kernel', ground: measured, timing: { before: float, after: integer } }
    : { form: 'widened', ground: `MatMulNBits would be slower: ${measured}`, timing: { before: float, after: float } };
}

/** The float layer of compute-plan.ts beside MatMulNBits over codes that are made up. */
function timedProduct({ layer, scheme, accuracyLevel }: PlannedProduct, dims: readonly number[] | undefined): TimedLayer {
  const { depth, channels } = layer;
  const { bits, blockSize, symmetric } = scheme;
  const blocks = Math.ceil(depth / blockSize);
  return {
    ...timedDense(layer, dims),
    integer({ activation, output, constant, add }) {
      const codes = constant('codes', madeUpBytes([channels, blocks, (blockSize * bits) / 8]));
      const scales = constant('scales', float32Tensor([channels, blocks], new Float32Array(channels * blocks).fill(2 ** -8)));
      const zeros = symmetric ? null : constant('zeros', madeUpBytes([channels, Math.ceil((blocks * bits) / 8)]));
      const bias = layer.bias ? constant('bias', float32Tensor([channels], new Float32Array(channels))) : null;
      const inputs = [activation, codes, scales, zeros, null, bias];
      while (inputs.at(-1) === null) inputs.pop();
      const attributes = {
        K: attributeOf.int(depth),
        N: attributeOf.int(channels),
        bits: attributeOf.int(bits),
        block_size: attributeOf.int(blockSize),
        accuracy_level: attributeOf.int(accuracyLevel),
      };
      add(new Node({ opType: 'MatMulNBits', domain: 'com.microsoft', inputs, outputs: [output], attributes }));
    },
  };
}

function madeUpBytes(dims: readonly number[]): Tensor {
  const count = dims.reduce((product, size) => product * size, 1);
  return tensorOf(
    'uint8',
    dims,
    Uint8Array.from({ length: count }, (_, at) => (at * 40_503) % 256),
  );
}
