/** Which factorisations are faster than the layers they replace: kernel times of this machine, of all layers in one profile. */
import { cloneModel, type Model, type Node, type Value } from '../ir/index.js';
import { WeightStore } from '../layers/weight-store.js';
import type { MethodContext } from '../method.js';
import type { KernelTime } from '../runtime/execution-session.js';
import { timesByName } from '../timing/kernel-times.js';
import { sampleFeeds } from '../timing/observed-activations.js';
import type { Candidate } from './candidates.js';
import { findLayers } from './matrix-layers.js';
import { writeFactors } from './write-factors.js';

/** Microseconds. */
export interface LayerTime {
  readonly before: number;
  readonly after: number;
}

export interface MeasuredForms {
  /** The fastest choice of each layer that gains, or whose kernels could not be told apart. */
  readonly chosen: ReadonlyMap<string, Candidate>;
  /** Of the fastest choice, by layer; layers that the runtime merged with others are missing. */
  readonly times: ReadonlyMap<string, LayerTime>;
  /** Choices that are not faster, by layer. */
  readonly slower: ReadonlyMap<string, Candidate>;
}

const PROFILE_BUDGET_MS = 400;
/** Factors must be faster by this much: a tie is decided for the layer as it is, which loses nothing. */
const GAIN_MIN = 1.05;

/** Profiles the model as it is and with each of the alternatives; null when no inputs are known that it runs on. */
export async function measureForms(
  model: Model,
  alternatives: ReadonlyMap<string, readonly Candidate[]>,
  context: MethodContext,
): Promise<MeasuredForms | null> {
  const most = Math.max(...[...alternatives.values()].map(({ length }) => length));
  const variants = Array.from({ length: most }, (_, at) => variant(model, alternatives, at));
  for await (const feeds of sampleFeeds(model, context)) {
    const models = [model, ...variants.map((each) => each.model)];
    const options = { budgetMs: PROFILE_BUDGET_MS * models.length, signal: context.signal };
    const [dense, ...factorised] = await context.runtime.profile(models, feeds, options);
    if (dense) return decided(model, { alternatives, dense, factorised, added: variants.map((each) => each.added) });
  }
  return null;
}

function variant(model: Model, alternatives: ReadonlyMap<string, readonly Candidate[]>, at: number) {
  const copy = cloneModel(model);
  const choices = [...alternatives].flatMap(([name, all]) => {
    const choice = all[Math.min(at, all.length - 1)];
    return choice ? [[name, choice] as const] : [];
  });
  return { model: copy, added: writeFactors(copy, new Map(choices)) };
}

interface Profiles {
  readonly alternatives: ReadonlyMap<string, readonly Candidate[]>;
  readonly dense: readonly KernelTime[];
  readonly factorised: readonly (readonly KernelTime[])[];
  readonly added: readonly ReadonlyMap<string, readonly string[]>[];
}

function decided(model: Model, { alternatives, dense, factorised, added }: Profiles): MeasuredForms {
  const chosen = new Map<string, Candidate>();
  const slower = new Map<string, Candidate>();
  const times = new Map<string, LayerTime>();
  const tables = factorised.map(timesByName);
  const denseTable = timesByName(dense);
  for (const { name, source } of findLayers(model, new WeightStore(model), []).layers) {
    const [first, ...others] = alternatives.get(name) ?? [];
    if (!first) continue;
    const names = kernelNames(source.node);
    const before = sumOf(denseTable, names);
    const timed = [first, ...others].map((candidate, at) => {
      const own = added[at]?.get(name) ?? [];
      const seen = own.every((each) => tables[at]?.has(each));
      return { candidate, after: seen ? sumOf(tables[at] ?? new Map(), [...names, ...own]) : 0 };
    });
    const fastest = timed.filter(({ after }) => after > 0).sort((a, b) => a.after - b.after)[0];
    if (before === 0 || !fastest) {
      chosen.set(name, first);
      continue;
    }
    times.set(name, { before, after: fastest.after });
    (before >= GAIN_MIN * fastest.after ? chosen : slower).set(name, fastest.candidate);
  }
  return { chosen, times, slower };
}

/** What the runtime fuses with the operator in front of it. */
const fused: ReadonlySet<string> = new Set(['Add', 'Relu', 'Clip', 'LeakyRelu', 'Elu', 'Sigmoid', 'HardSigmoid', 'Tanh']);
const FUSED_MAX = 3;

/** Names under which the kernels of a layer appear: its node, what can be fused behind it, and the values they make. */
function kernelNames(node: Node): string[] {
  const names = new Set<string>();
  let next: Node | undefined = node;
  for (let step = 0; next && step <= FUSED_MAX; step += 1) {
    names.add(next.name);
    const output: Value | null | undefined = next.outputs[0];
    if (output) names.add(output.name);
    const [reader, ...others]: Node[] = output?.consumers ?? [];
    next = reader && others.length === 0 && fused.has(reader.opType) ? reader : undefined;
  }
  return [...names];
}

function sumOf(times: ReadonlyMap<string, number>, names: readonly string[]): number {
  return names.reduce((sum, name) => sum + (times.get(name) ?? 0), 0);
}
