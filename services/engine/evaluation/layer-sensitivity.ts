/** Sensitivity: how much noise each quantized site alone brings to the outputs of the model, and to its own output. */
import { EngineError } from '../engine-errors.js';
import type { Tensor } from '../ir/index.js';
import type { MethodContext, RunSource, SampleRun } from '../method.js';
import { chooseBatchSize } from './batch-size.js';
import { FidelityAccumulator, type FidelityResult } from './fidelity.js';
import type { EnabledSites, SwitchableModel, SwitchableSite } from './switchable-model.js';

/** One site, quantized in one way while everything else computes in float. */
export interface SiteSensitivity {
  readonly site: string;
  /** Index among the alternatives of the site. */
  readonly alternative: number;
  /** Signal to noise ratio of the worst output, in dB. */
  readonly sqnr_db: number;
  /** 10^(-sqnr_db / 10), 0 for equal outputs: the noise powers of sites add up when their errors are not correlated. */
  readonly noise: number;
  readonly cosine: number;
}

export interface SweepSamples {
  readonly source: RunSource;
  /** At most this many samples are run. */
  readonly limit: number;
}

type Report = Pick<MethodContext, 'signal' | 'progress'>;

/**
 * The fidelity of each choice of sites to the float model, in one pass over the samples: batches where the model allows them,
 * sums only, no output kept longer than its batch. Throws what running throws, and on cancellation.
 */
export async function compareWithFloat(
  switchable: SwitchableModel,
  choices: readonly EnabledSites[],
  { samples, context, fetches }: { samples: SweepSamples; context: Report; fetches?: (index: number) => readonly string[] },
): Promise<readonly FidelityResult[]> {
  const sums = choices.map(() => new FidelityAccumulator());
  const source = limited(samples);
  const batch = await chooseBatchSize([floatSession(switchable)], source);
  let done = 0;
  for await (const run of source.runs(batch)) {
    const reference = await switchable.run(run.feeds, new Map(), fetches && [...new Set(choices.flatMap((_, at) => fetches(at)))]);
    for (const [at, enabled] of choices.entries()) {
      context.signal.throwIfAborted();
      const names = fetches?.(at);
      const outputs = await switchable.run(run.feeds, enabled, names);
      sums[at]?.add(names ? picked(reference, names) : reference, outputs, rowsOf(run));
      context.progress(
        (done + (run.sampleCount * (at + 1)) / choices.length) / source.sampleCount,
        `${at + 1} of ${choices.length} choices`,
      );
    }
    done += run.sampleCount;
  }
  return sums.map((sum) => sum.result('dataset'));
}

/** The sensitivity of every alternative of every site at the outputs of the model, the most sensitive first. */
export async function layerSensitivity(
  switchable: SwitchableModel,
  sites: readonly SwitchableSite[],
  how: { readonly samples: SweepSamples; readonly context: Report },
): Promise<readonly SiteSensitivity[]> {
  return measured(switchable, sites, how);
}

/**
 * The same at the output of each site itself. `outputs` names it by site; `switchable` must have been opened to observe them.
 * All of them are held for one batch of samples: give few samples.
 */
export async function localSensitivity(
  switchable: SwitchableModel,
  sites: readonly SwitchableSite[],
  how: { readonly samples: SweepSamples; readonly context: Report; readonly outputs: ReadonlyMap<string, string> },
): Promise<readonly SiteSensitivity[]> {
  const known = sites.filter(({ id }) => how.outputs.has(id));
  return measured(switchable, known, { ...how, fetches: (site) => [how.outputs.get(site) ?? ''] });
}

async function measured(
  switchable: SwitchableModel,
  sites: readonly SwitchableSite[],
  { samples, context, fetches }: { samples: SweepSamples; context: Report; fetches?: (site: string) => readonly string[] },
): Promise<readonly SiteSensitivity[]> {
  const trials = sites.flatMap(({ id, alternatives }) => alternatives.map((_, alternative) => ({ site: id, alternative })));
  const choices = trials.map(({ site, alternative }) => new Map([[site, alternative]]));
  const results = await compareWithFloat(switchable, choices, {
    samples,
    context,
    ...(fetches ? { fetches: (index: number) => fetches(trials[index]?.site ?? '') } : {}),
  });
  const found = trials.map((trial, at) => ({ ...trial, ...noiseOf(results[at]) }));
  return found.sort((a, b) => b.noise - a.noise);
}

/** Noise of the worst output relative to its signal. Throws EngineError when no output tells. */
export function noiseOf(fidelity: FidelityResult | undefined): Pick<SiteSensitivity, 'sqnr_db' | 'noise' | 'cosine'> {
  if (!fidelity || fidelity.sqnr_db === null || fidelity.max_abs_error === null) {
    throw new EngineError(
      'model_unsupported',
      'The sensitivity of layers cannot be measured: no output of the model holds finite floats. Make the scores before the last ArgMax or Cast an output, or use a method that needs no sensitivity.',
    );
  }
  if (fidelity.non_finite > 0) return { sqnr_db: Number.NEGATIVE_INFINITY, noise: Number.POSITIVE_INFINITY, cosine: 0 };
  const noise = fidelity.max_abs_error === 0 ? 0 : 10 ** (-fidelity.sqnr_db / 10);
  return { sqnr_db: fidelity.sqnr_db, noise, cosine: fidelity.cosine ?? 0 };
}

function rowsOf({ rows, sampleCount }: SampleRun): { rows: number; sampleCount: number } {
  return { rows, sampleCount };
}

function picked(outputs: ReadonlyMap<string, Tensor>, names: readonly string[]): ReadonlyMap<string, Tensor> {
  return new Map([...outputs].filter(([name]) => names.includes(name)));
}

function limited({ source, limit }: SweepSamples): RunSource {
  const sampleCount = Math.min(limit, source.sampleCount);
  return { ...source, sampleCount, runs: (size, most = sampleCount) => source.runs(size, Math.min(most, sampleCount)) };
}

function floatSession(switchable: SwitchableModel): Parameters<typeof chooseBatchSize>[0][number] {
  return { inputs: [], outputs: [], run: async (feeds) => new Map(await switchable.run(feeds, new Map())), close: async () => {} };
}
