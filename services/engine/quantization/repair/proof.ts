/** Whether a repaired model is what it was: both are run on samples without the runtime's optimizer. */
import { cloneGraph, elementCount, float32Values, Model, NameAuthority, Node, type Tensor, Value } from '../../ir/index.js';
import type { MethodContext } from '../../method.js';
import type { Proof, ReplacedInput } from './finding.js';

/** Samples that are compared. */
const SAMPLES = 4;

/** Rounding of float32 sums, relative to the largest value: the two sums of a one-step proof differ in their last addend. */
const FLOAT_NOISE = 1e-5;

export type Verdict =
  /** `difference`: largest absolute difference of any output. */
  { readonly holds: true; readonly difference: number; readonly samples: number } | { readonly holds: false; readonly reason: string };

export interface Claim {
  readonly before: Model;
  readonly after: Model;
  readonly proof: Proof;
  readonly replaced: readonly ReplacedInput[];
}

/** Runs the claim on the first calibration samples. A model that the runtime refuses proves nothing. */
export async function prove(claim: Claim, context: MethodContext): Promise<Verdict> {
  try {
    if (claim.proof === 'one-step') {
      const local = await compareTwins(claim, context);
      if (!local.holds) return local;
    }
    return await compareOutputs(claim, context);
  } catch (error) {
    context.signal.throwIfAborted();
    return { holds: false, reason: `the runtime refused a model (${error instanceof Error ? error.message : String(error)})` };
  }
}

async function compareOutputs({ before, after, proof }: Claim, context: MethodContext): Promise<Verdict> {
  let difference = 0;
  let samples = 0;
  const reference = await outputsOf(before, context);
  for (const [at, outputs] of (await outputsOf(after, context)).entries()) {
    samples += 1;
    for (const [name, tensor] of outputs) {
      const expected = reference[at]?.get(name);
      if (!expected) return { holds: false, reason: `the output "${name}" is missing` };
      if (sameBytes(expected, tensor)) continue;
      const distance = largestDifference(expected, tensor);
      if (proof === 'equal') return { holds: false, reason: `the output "${name}" differs by up to ${distance}` };
      difference = Math.max(difference, distance);
    }
  }
  return samples > 0 ? { holds: true, difference, samples } : { holds: false, reason: 'there are no samples' };
}

async function outputsOf(model: Model, context: MethodContext): Promise<ReadonlyMap<string, Tensor>[]> {
  const session = await context.runtime.open(model, { optimization: 'disabled' });
  const outputs: ReadonlyMap<string, Tensor>[] = [];
  try {
    for await (const { feeds } of context.calibration?.runs(1, SAMPLES) ?? []) {
      context.signal.throwIfAborted();
      outputs.push(await session.run(feeds));
    }
  } finally {
    await session.close();
  }
  return outputs;
}

/** Each repaired node runs beside a twin that reads what it read before, on the same inputs. */
async function compareTwins({ after, replaced }: Claim, context: MethodContext): Promise<Verdict> {
  const { model, pairs } = withTwins(after, replaced);
  const session = await context.runtime.open(model, { optimization: 'disabled' });
  try {
    for await (const { feeds } of context.calibration?.runs(1, SAMPLES) ?? []) {
      context.signal.throwIfAborted();
      const results = await session.run(
        feeds,
        pairs.flatMap(({ repaired, twin }) => [repaired, twin]),
      );
      for (const { repaired, twin, tolerance } of pairs) {
        const [a, b] = [results.get(repaired), results.get(twin)];
        if (!a || !b) return { holds: false, reason: `"${repaired}" was not computed` };
        const distance = largestDifference(a, b);
        if (!(distance <= tolerance + FLOAT_NOISE * largestValue(b))) {
          return { holds: false, reason: `"${repaired}" moved by ${distance}, more than half a step of its accumulator (${tolerance})` };
        }
      }
    }
  } finally {
    await session.close();
  }
  return { holds: true, difference: 0, samples: SAMPLES };
}

interface Pair {
  readonly repaired: string;
  readonly twin: string;
  readonly tolerance: number;
}

/** Only nodes of the main graph get twins: what is inside a branch is seen by the outputs alone. */
function withTwins(after: Model, replaced: readonly ReplacedInput[]): { model: Model; pairs: Pair[] } {
  const copies = new Map<Value, Value>();
  const model = new Model(cloneGraph(after.graph, copies));
  model.irVersion = after.irVersion;
  for (const [domain, version] of after.opsetImports) model.opsetImports.set(domain, version);
  model.functions.push(...after.functions);
  const names = new NameAuthority(model);
  const pairs: Pair[] = [];
  for (const { node, index, before, tolerance } of replaced) {
    const output = copies.get(node.outputs[0] ?? new Value(''));
    const own = output?.producer;
    if (!output || !own || own.graph !== model.graph) continue;
    const twin = new Value(names.valueName(`${output.name}_twin`));
    const inputs = own.inputs.map((value, at) => (at === index ? before && (copies.get(before) ?? before) : value));
    const { opType, domain, attributes } = own;
    model.graph.insertAfter(own, new Node({ opType, domain, attributes, inputs, outputs: [twin], name: names.nodeName(twin.name) }));
    for (const value of [output, twin]) {
      value.type ??= { kind: 'tensor', dataType: 'float32', shape: null };
      if (!model.graph.isOutput(value)) model.graph.outputs.push(value);
    }
    pairs.push({ repaired: output.name, twin: twin.name, tolerance });
  }
  return { model, pairs };
}

function sameBytes(a: Tensor, b: Tensor): boolean {
  if (a.dataType !== b.dataType || a.dims.join() !== b.dims.join()) return false;
  return Buffer.compare(a.data.read(), b.data.read()) === 0;
}

function largestDifference(a: Tensor, b: Tensor): number {
  if (a.dataType !== 'float32' || b.dataType !== 'float32' || elementCount(a.dims) !== elementCount(b.dims))
    return Number.POSITIVE_INFINITY;
  const [left, right] = [float32Values(a), float32Values(b)];
  return left.reduce((largest, value, at) => Math.max(largest, Math.abs(value - (right[at] ?? 0))), 0);
}

function largestValue(tensor: Tensor): number {
  return float32Values(tensor).reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
}
