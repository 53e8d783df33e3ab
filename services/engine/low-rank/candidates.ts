/** The ways in which one layer can be factorised, each with its cost and with what it loses on the inputs that were seen. */
import type { GramMatrix } from '../normal-equations/gram-matrices.js';
import { cpForm } from './cp-form.js';
import { innerProduct, product } from './dense-products.js';
import { composed, costOf, type Factor, inputsOfLast, type LayerCost, type LayerPositions } from './factors.js';
import { type InputMetric, inputMetric } from './input-metric.js';
import { fitLastFactor, outputEnergy } from './last-factor.js';
import { addedBias, type MatrixLayer, weightRows } from './matrix-layers.js';
import type { FormName } from './options.js';
import type { WeightMetric } from './principal-factors.js';
import type { RankForm, Ranks } from './rank-form.js';
import { spatialForm } from './spatial-form.js';
import { svdForm } from './svd-form.js';
import { tuckerForm } from './tucker-form.js';

export interface Candidate {
  readonly form: FormName;
  readonly ranks: Ranks;
  readonly full: Ranks;
  readonly cost: LayerCost;
  /** Share of the energy of the outputs that is lost: on the inputs seen, after bias correction; of the weights when none were seen. */
  readonly lost: number;
  /** Signal to noise ratio at the output of the layer on the inputs seen, in dB; null when none were seen. */
  readonly sqnr_db: number | null;
  factors(): readonly Factor[];
  /** What the bias has to make up for, per channel; null when it cannot, or nothing is known of the inputs. */
  biasShift(): Float64Array | null;
}

export interface CandidateRequest {
  readonly layer: MatrixLayer;
  readonly positions: LayerPositions;
  readonly forms: readonly FormName[];
  readonly multiple: number;
  /** Sums over the inputs of the layer, when samples were given. */
  readonly inputs: GramMatrix | null;
  /** False: the first factors are the best for the weights, not for the outputs. */
  readonly activationAware: boolean;
  readonly choice: RankChoice;
}

/** Which of the ranks of a form are wanted. */
export type RankChoice =
  | { readonly by: 'energy'; readonly energy: number }
  /** As many as are signal in the sense of evbmf.ts. */
  | { readonly by: 'evbmf' }
  /** All of them, for a choice over all layers. */
  | { readonly by: 'budget' };

/** Cost of the layer as it is. */
export function denseCost({ inputs, kernel, channels }: MatrixLayer, positions: LayerPositions): LayerCost {
  return costOf([{ dims: [channels, inputs, ...kernel], group: 1, walk: [...kernel.keys()] }], positions);
}

/** Wanted choices that cost less than the layer, both weights and multiply-accumulates. Takes about (smaller side)^3 operations. */
export function layerCandidates(request: CandidateRequest): Candidate[] {
  const work = new LayerWork(request);
  const dense = denseCost(request.layer, request.positions);
  return work.forms().flatMap((form) => {
    const saves = ({ macs, parameters }: LayerCost): boolean => macs < dense.macs && parameters < dense.parameters;
    return work.wanted(
      form,
      form.ladder.filter((ranks) => saves(work.costOf(form, ranks))),
    );
  });
}

class LayerWork {
  private readonly rows: Float64Array;
  private readonly metric: (InputMetric & WeightMetric) | null;
  /** tr(W G W^T) under the metric, or of the weights. */
  private readonly energy: number;
  /** The same with the mean and the bias: the power of the outputs. */
  private readonly signal: number | null;

  constructor(private readonly request: CandidateRequest) {
    const { layer, inputs } = request;
    this.rows = weightRows(layer);
    const known = inputs && inputMetric(inputs, layer.hasRoomForBias);
    const shape = { rows: layer.channels, inner: layer.depth, columns: layer.depth };
    this.metric = known && { ...known, weighted: product(this.rows, known.gram, shape) };
    this.energy = innerProduct(this.metric?.weighted ?? this.rows, this.rows);
    this.signal = inputs && this.outputPower(inputs);
  }

  forms(): RankForm[] {
    const { layer, forms, multiple, activationAware } = this.request;
    const form = { ...layer, rows: this.rows };
    const makers: Readonly<Record<FormName, () => RankForm | null>> = {
      svd: () => svdForm(form, { multiple, metric: activationAware ? this.metric : null }),
      'spatial-svd': () => spatialForm(form, multiple),
      tucker: () => tuckerForm(form, multiple),
      cp: () => cpForm(form, multiple),
    };
    return forms.flatMap((name) => makers[name]() ?? []);
  }

  /** A bias that the layer did not have is counted. */
  costOf(form: RankForm, ranks: Ranks): LayerCost {
    const { layer, positions } = this.request;
    const { macs, parameters } = costOf(form.shapes(ranks), positions);
    const hasBias = layer.source.bias !== null;
    return { macs, parameters: parameters + (this.metric?.mean && !hasBias ? layer.channels : 0) };
  }

  wanted(form: RankForm, ladder: readonly Ranks[]): Candidate[] {
    const { choice } = this.request;
    switch (choice.by) {
      case 'budget':
        return ladder.map((ranks) => this.candidate(form, ranks));
      case 'evbmf': {
        const signal = ladder.length > 0 ? form.signal?.() : undefined;
        const chosen = signal && ladder.find((ranks) => ranks.every((rank, side) => rank >= (signal[side] ?? 0)));
        return chosen ? [this.candidate(form, chosen)] : [];
      }
      case 'energy':
        for (const ranks of ladder) {
          const candidate = this.candidate(form, ranks);
          if (candidate.lost <= 1 - choice.energy) return [candidate];
        }
        return [];
    }
  }

  private candidate(form: RankForm, ranks: Ranks): Candidate {
    const { metric, signal } = this;
    const { activationAware, layer } = this.request;
    const isOptimal = !metric || (form.name === 'svd' && activationAware);
    const known = isOptimal ? form.lost?.(ranks) : undefined;
    const built = known === undefined ? this.built(form, ranks) : { lost: known, factors: kept(form.factors, ranks) };
    return {
      form: form.name,
      ranks,
      full: form.full,
      cost: this.costOf(form, ranks),
      ...built,
      sqnr_db: signal === null || built.lost === 0 ? null : 10 * Math.log10(signal / (built.lost * this.energy)),
      biasShift: biasShiftOf(layer, metric?.mean ?? null, built.factors),
    };
  }

  /** Factors that must be there to be judged, the last of them fitted to the outputs when inputs were seen. */
  private built(form: RankForm, ranks: Ranks): Pick<Candidate, 'lost' | 'factors'> {
    const { rows, metric } = this;
    const { channels, depth } = this.request.layer;
    const factors = form.factors(ranks);
    const fitted =
      metric && fitLastFactor({ rows, channels, depth, inputs: inputsOfLast(factors), gram: metric.gram, energy: this.energy });
    const last = factors.at(-1);
    if (fitted && last) {
      const all = [...factors.slice(0, -1), { ...last, values: Float32Array.from(fitted.values) }];
      return { lost: this.share(fitted.error), factors: kept(() => all, ranks) };
    }
    const error = composed(factors).map((value, at) => (rows[at] ?? 0) - value);
    const lost = this.share(outputEnergy(error, { channels, depth, gram: metric?.gram ?? null }));
    return { lost, factors: kept(() => factors, ranks) };
  }

  private share(error: number): number {
    return this.energy > 0 ? error / this.energy : 0;
  }

  /** sum over the rows x of |W x + b / alpha|^2 = tr(W G W^T) + 2 n (b / alpha) . W m + n |b / alpha|^2, G around the origin. */
  private outputPower({ mean, rows: count }: GramMatrix): number {
    const { layer } = this.request;
    const { channels, depth, source } = layer;
    const alpha = source.kind === 'dense' ? source.alpha : 1;
    const bias = addedBias(layer).map((value) => (alpha === 0 ? 0 : value / alpha));
    const means = product(this.rows, mean, { rows: channels, inner: depth, columns: 1 });
    const around = this.metric?.mean ? count * innerProduct(means, means) : 0;
    const power = this.energy + around + 2 * count * innerProduct(bias, means) + count * innerProduct(bias, bias);
    return Math.max(power, Number.MIN_VALUE);
  }
}

/** Made apart from the sums over the inputs, which are too large to be held on to. */
function kept(factors: RankForm['factors'], ranks: Ranks): Candidate['factors'] {
  return () => factors(ranks);
}

/** alpha (W - W') m: what the mean of the outputs misses. */
function biasShiftOf(layer: MatrixLayer, mean: Float64Array | null, factors: Candidate['factors']): Candidate['biasShift'] {
  return () => {
    if (!mean) return null;
    const { channels, depth, source } = layer;
    const alpha = source.kind === 'dense' ? source.alpha : 1;
    const rows = weightRows(layer);
    const error = composed(factors()).map((value, at) => alpha * ((rows[at] ?? 0) - value));
    return product(error, mean, { rows: channels, inner: depth, columns: 1 });
  };
}
