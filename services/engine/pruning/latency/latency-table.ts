/** Times of layers at chosen widths on this machine: each alone in a small model, runs in turns, minima; kept between jobs. */
import type { Model, Tensor } from '../../ir/index.js';
import type { MethodContext } from '../../method.js';
import type { KernelTime } from '../../runtime/execution-session.js';
import { madeUpTensor } from '../../timing/made-up-tensor.js';
import { ChainBuilder } from './chain-builder.js';
import type { LayerForm, LayerWidths } from './layer-form.js';

/** Microseconds by "in-out", of one form. */
type FormTimes = Record<string, number>;

export interface WantedTimes {
  readonly form: LayerForm;
  readonly widths: readonly LayerWidths[];
}

/** Sessions that are open at a time, and wall time for each of them. */
const BATCH = 24;
const BUDGET_MS_EACH = 12;

const keyOf = ({ in: channels, out }: LayerWidths): string => `${channels}-${out}`;

export class LatencyTable {
  private readonly times = new Map<string, FormTimes>();

  /** What is not in the cache of the context is measured; what the runtime refuses stays unknown. */
  static async measure(wanted: readonly WantedTimes[], context: MethodContext): Promise<LatencyTable> {
    const table = new LatencyTable();
    for (const { form } of wanted) if (!table.times.has(form.key)) table.times.set(form.key, await kept(form.key, context));
    const missing = table.missing(wanted);
    const batches = inBatches(missing);
    for (const [at, batch] of batches.entries()) {
      context.signal.throwIfAborted();
      context.progress(at / batches.length, 'timing layers at several widths');
      table.learn(batch, await batchTimes(batch, context));
    }
    for (const key of new Set(missing.map(({ form }) => form.key))) await keep(key, table.times.get(key) ?? {}, context);
    return table;
  }

  /** Microseconds; undefined when they were not measured. */
  time({ key }: LayerForm, widths: LayerWidths): number | undefined {
    return this.times.get(key)?.[keyOf(widths)];
  }

  private missing(wanted: readonly WantedTimes[]): Missing[] {
    const seen = new Set<string>();
    const missing: Missing[] = [];
    for (const { form, widths } of wanted) {
      for (const each of widths) {
        const name = `${form.key} ${keyOf(each)}`;
        if (seen.has(name) || this.time(form, each) !== undefined) continue;
        seen.add(name);
        const model = form.chain(each);
        missing.push({ form, widths: each, model, inputDims: inputDimsOf(model) });
      }
    }
    return missing;
  }

  private learn(batch: readonly Missing[], times: readonly (number | undefined)[]): void {
    for (const [at, { form, widths }] of batch.entries()) {
      const time = times[at];
      const known = this.times.get(form.key);
      if (time !== undefined && known) known[keyOf(widths)] = time;
    }
  }
}

interface Missing {
  readonly form: LayerForm;
  readonly widths: LayerWidths;
  readonly model: Model;
  readonly inputDims: readonly number[];
}

function inputDimsOf({ graph }: Model): readonly number[] {
  const type = graph.inputs[0]?.type;
  return type?.kind === 'tensor' ? (type.shape ?? []).map(Number) : [];
}

/** Models with equal inputs together, as they are fed alike. */
function inBatches(missing: readonly Missing[]): Missing[][] {
  const byInput = new Map<string, Missing[]>();
  for (const each of missing) byInput.set(each.inputDims.join(), [...(byInput.get(each.inputDims.join()) ?? []), each]);
  return [...byInput.values()].flatMap((alike) =>
    Array.from({ length: Math.ceil(alike.length / BATCH) }, (_, at) => alike.slice(at * BATCH, (at + 1) * BATCH)),
  );
}

async function batchTimes(batch: readonly Missing[], context: MethodContext): Promise<(number | undefined)[]> {
  const inputDims = batch[0]?.inputDims ?? [];
  const feeds: ReadonlyMap<string, Tensor> = new Map([['x', madeUpTensor(inputDims)]]);
  const corner = new ChainBuilder(inputDims);
  corner.corner();
  const options = { budgetMs: BUDGET_MS_EACH * batch.length, signal: context.signal };
  try {
    const [call = [], ...profiles] = await context.runtime.profile([corner.model(), ...batch.map(({ model }) => model)], feeds, options);
    // A copy of one element takes no time beside what the profiler adds to every kernel.
    const overhead = call[0]?.microseconds ?? 0;
    return profiles.map((kernels) => timeOfLayer(kernels, overhead));
  } catch {
    context.signal.throwIfAborted();
    if (batch.length === 1) return [undefined];
    // One of them is a layer that the runtime does not take in this form.
    const alone: (number | undefined)[] = [];
    for (const each of batch) alone.push(...(await batchTimes([each], context)));
    return alone;
  }
}

/**
 * All kernels but the ones that surround the layer. Values change their layout on the way in and out where the widths ask for it;
 * the layers on both sides share that.
 */
function timeOfLayer(kernels: readonly KernelTime[], overhead: number): number | undefined {
  const own = kernels.filter(({ node }) => !/^(before|after)/.test(node));
  if (own.length === 0) return undefined;
  const share = (opType: string): number => (opType.startsWith('Reorder') ? 0.5 : 1);
  return own.reduce((sum, { opType, microseconds }) => sum + Math.max(0, microseconds - overhead) * share(opType), 0);
}

async function kept(key: string, { latencyCache }: MethodContext): Promise<FormTimes> {
  const text = await latencyCache?.get(key);
  if (text === undefined) return {};
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== 'object' || parsed === null) return {};
  return Object.fromEntries(Object.entries(parsed).filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
}

async function keep(key: string, times: FormTimes, { latencyCache }: MethodContext): Promise<void> {
  await latencyCache?.put(key, JSON.stringify(times));
}
