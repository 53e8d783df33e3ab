/** The sensitivity of all candidate layers, and the best choice of bits under a limit of bytes, of time or of noise. */
import type { FidelityResult } from '../../evaluation/fidelity.js';
import { compareWithFloat, layerSensitivity } from '../../evaluation/layer-sensitivity.js';
import { openSwitchable, type SwitchableModel, type SwitchableSite } from '../../evaluation/switchable-model.js';
import type { Model } from '../../ir/index.js';
import type { MethodContext, RunSource } from '../../method.js';
import { type Assignment, type ChoiceSearch, type LayerChoice, totalWeight } from './search.js';
import type { CandidateLayer, WeightCandidate } from './weight-candidates.js';

/** Each candidate of each layer runs on every sample of the sweep: more samples for models of few layers. */
const SWEPT_RUNS = 1280;
const SWEPT_SAMPLES = { min: 16, max: 64 };
/** Samples for the noise inside the model, where the outputs of all layers are held at once. */
const OBSERVED_SAMPLES = 4;
/** Quantized weights that are kept; beyond, they are computed for each batch anew. */
const KEPT_BYTES = 256 * 2 ** 20;

/** Chosen candidate by layer. */
export type ChosenBits = ReadonlyMap<CandidateLayer, WeightCandidate>;

export type LocalNoise = Pick<FidelityResult, 'sqnr_db' | 'cosine'>;

export class BitsPlan {
  private constructor(
    readonly layers: readonly CandidateLayer[],
    private readonly sites: readonly SwitchableSite[],
    /** Relative noise power at the outputs, by layer and candidate. */
    private readonly noise: readonly (readonly number[])[],
    private readonly switchable: SwitchableModel,
    private readonly samples: RunSource,
  ) {}

  /** Measures the sensitivities. Must be closed. */
  static async measure(
    model: Model,
    layers: readonly CandidateLayer[],
    { samples, context }: { readonly samples: RunSource; readonly context: MethodContext },
  ): Promise<BitsPlan> {
    const sites = sitesOf(layers);
    const switchable = await openSwitchable(model, sites, context);
    try {
      const choices = sites.reduce((sum, { alternatives }) => sum + alternatives.length, 0);
      const limit = Math.round(Math.max(SWEPT_SAMPLES.min, Math.min(SWEPT_SAMPLES.max, SWEPT_RUNS / choices)));
      const sweep = { source: samples, limit };
      const found = await layerSensitivity(switchable, sites, { samples: sweep, context });
      const noise = layers.map((layer) => layer.candidates.map(() => 0));
      for (const { site, alternative, noise: power } of found) {
        const layer = noise[Number(site)];
        if (layer) layer[alternative] = power;
      }
      return new BitsPlan(layers, sites, noise, switchable, samples);
    } catch (error) {
      await switchable.close();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.switchable.close();
  }

  noiseOf(layer: CandidateLayer, candidate: WeightCandidate): number {
    return this.noise[this.layers.indexOf(layer)]?.[layer.candidates.indexOf(candidate)] ?? 0;
  }

  /** Least noise while the sum of `weightOf` stays within the limit; null when it cannot. */
  leastNoise(
    limit: number,
    weightOf: (layer: CandidateLayer, candidate: WeightCandidate) => number,
    search: ChoiceSearch,
  ): ChosenBits | null {
    return this.chosen(
      search(
        this.choices((layer, each) => ({ value: this.noiseOf(layer, each), weight: weightOf(layer, each) })),
        limit,
      ),
    );
  }

  /** Least bytes while the sum of noises stays within the limit; null when it cannot. */
  leastBytes(limit: number, search: ChoiceSearch): ChosenBits | null {
    return this.chosen(
      search(
        this.choices((layer, each) => ({ value: each.bytes, weight: this.noiseOf(layer, each) })),
        limit,
      ),
    );
  }

  /** The least sum that any choice reaches. */
  least(weightOf: (layer: CandidateLayer, candidate: WeightCandidate) => number): number {
    const choices = this.choices((layer, each) => ({ value: 0, weight: weightOf(layer, each) }));
    const lightest = choices.map((options) =>
      options.reduce((best, { weight }, at) => (weight < (options[best]?.weight ?? 0) ? at : best), 0),
    );
    return totalWeight(choices, lightest);
  }

  /** The noise of each layer at its own output when it alone is quantized as chosen; layers of the main graph. */
  async localNoise(model: Model, chosen: ChosenBits, context: MethodContext): Promise<ReadonlyMap<CandidateLayer, LocalNoise>> {
    const made = new Set(model.graph.nodes.flatMap(({ outputs }) => outputs.map((output) => output?.name)));
    const inner = [...chosen].filter(([{ output }, { bits }]) => bits < 32 && made.has(output));
    if (inner.length === 0) return new Map();
    const switchable = await openSwitchable(model, this.sites, context, { observe: inner.map(([{ output }]) => output) });
    try {
      // One by one: the outputs of all layers are held for the samples of one run.
      const source = { ...this.samples, fixedBatch: this.samples.fixedBatch ?? 1 };
      const found = await compareWithFloat(
        switchable,
        inner.map(
          ([layer, { bits }]) => new Map([[`${this.layers.indexOf(layer)}`, layer.candidates.findIndex((each) => each.bits === bits)]]),
        ),
        { samples: { source, limit: OBSERVED_SAMPLES }, context, fetches: (index) => [inner[index]?.[0].output ?? ''] },
      );
      return new Map(inner.map(([layer], at) => [layer, found[at] ?? { sqnr_db: null, cosine: null }]));
    } finally {
      await switchable.close();
    }
  }

  private choices(make: (layer: CandidateLayer, candidate: WeightCandidate) => LayerChoice): LayerChoice[][] {
    return this.layers.map((layer) => layer.candidates.map((candidate) => make(layer, candidate)));
  }

  private chosen(assignment: Assignment | null): ChosenBits | null {
    if (!assignment) return null;
    return new Map(
      this.layers.flatMap((layer, at) => {
        const candidate = layer.candidates[assignment[at] ?? 0];
        return candidate ? [[layer, candidate] as const] : [];
      }),
    );
  }
}

/** One site per layer, by its index; float32 comes last among the candidates and needs no alternative. */
function sitesOf(layers: readonly CandidateLayer[]): SwitchableSite[] {
  let kept = 0;
  const keep = (make: () => Float32Array): (() => Float32Array) => {
    let values: Float32Array | undefined;
    return () => {
      if (values) return values;
      const made = make();
      if (kept + made.byteLength <= KEPT_BYTES) {
        values = made;
        kept += made.byteLength;
      }
      return made;
    };
  };
  return layers.map(({ candidates }, index) => ({
    id: `${index}`,
    alternatives: candidates
      .filter(({ bits }) => bits < 32)
      .map(({ weights }) => ({
        weights: weights.map(({ value, quantized }) => ({
          value,
          quantized: typeof quantized === 'function' ? keep(quantized) : quantized,
        })),
      })),
  }));
}
