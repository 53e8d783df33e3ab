/** Method mixed-precision: bits for the weights of every layer by its sensitivity, under a budget or a bound, proven on the artifact. */
import { EngineError } from '../../engine-errors.js';
import { innerFidelity } from '../../evaluation/model-fidelity.js';
import { adoptModel } from '../../ir/adopt-model.js';
import type { Model } from '../../ir/index.js';
import { type LayerReport, type MethodContext, type MethodOutcome, type NodeChange, partOf } from '../../method.js';
import { BitsPlan, type ChosenBits, type LocalNoise } from './bits-plan.js';
import { boundedArtifact, type Candidate } from './bounded-artifact.js';
import type { MixedPrecisionOptions } from './options.js';
import { type CandidateLayer, candidateLayers } from './weight-candidates.js';

const METHOD = 'mixed-precision';
/** Samples for the noise inside the artifact. */
const OBSERVED_SAMPLES = 4;
const DEFAULT_BITS = [4, 8, 32] as const;

/**
 * Edits `model` in place. Throws EngineError `recipe_invalid` without calibration samples, and when no choice of bits keeps
 * the budget or the bound; the message says what can be reached.
 */
export async function mixedPrecision(model: Model, options: MixedPrecisionOptions, context: MethodContext): Promise<MethodOutcome> {
  const samples = context.calibration;
  if (!samples)
    throw new EngineError(
      'recipe_invalid',
      'mixed-precision measures how sensitive layers are and needs calibration samples: give a data set of typical inputs (--data, or data.calibration_id).',
    );
  if (options.budget?.bytes !== undefined && options.budget.latency !== undefined)
    throw new EngineError('recipe_invalid', 'mixed-precision takes one budget: of bytes or of latency. Bound the other one in the gate.');
  const layers = candidateLayers(model, { bits: options.bits ?? DEFAULT_BITS, exclude: options.exclude ?? [] });
  if (layers.every(({ candidates }) => candidates.every(({ bits }) => bits === 32)))
    return { nodes: [], warnings: ['mixed-precision: no layer has weights that fewer bits would make smaller.'] };
  const plan = await BitsPlan.measure(model, layers, { samples, context: partOf(context, 0, 0.5) });
  try {
    const found = await boundedArtifact({ model, plan, samples, options }, partOf(context, 0.5, 0.9));
    const local = await plan.localNoise(model, found.chosen, partOf(context, 0.9, 1));
    const pair = { candidate: found.model, reference: model, values: layers.map(({ output }) => output) };
    const accumulated = await innerFidelity(pair, { source: samples, limit: OBSERVED_SAMPLES }, context);
    const outcome = described(found, { plan, local, accumulated });
    adoptModel(model, found.model);
    return outcome;
  } finally {
    await plan.close();
  }
}

function described({ chosen, outcome }: Candidate, { plan, ...noise }: { plan: BitsPlan } & InnerNoise): MethodOutcome {
  const layerOf = new Map([...chosen.keys()].flatMap((layer) => layer.nodes.map((node) => [node, layer] as const)));
  const nodes = outcome.nodes.map((change) => nodeLine(change, layerOf.get(change.node), { plan, chosen }));
  const layers = (outcome.layers ?? []).map((line) => layerLine(line, layerOf.get(line.node), noise));
  return { ...outcome, nodes, layers };
}

/** The line of weight-only, with what the layer in these bits does to the outputs of the model. */
function nodeLine(
  change: NodeChange,
  layer: CandidateLayer | undefined,
  { plan, chosen }: { plan: BitsPlan; chosen: ChosenBits },
): NodeChange {
  if (!layer) return { ...change, by: METHOD };
  const candidate = chosen.get(layer);
  const shown = candidate?.bits === 32 ? layer.candidates.find(({ bits }) => bits === 8) : candidate;
  if (!shown) return { ...change, by: METHOD };
  const noise = plan.noiseOf(layer, shown);
  const decibels = noise > 0 ? `${(-10 * Math.log10(noise)).toFixed(1)} dB` : 'no noise';
  return { ...change, by: METHOD, reason: `${change.reason}; with this layer alone in ${shown.bits} bits the outputs have ${decibels}` };
}

interface InnerNoise {
  /** Of each layer alone, at its output. */
  readonly local: ReadonlyMap<CandidateLayer, LocalNoise>;
  /** Of the artifact, in dB, by the name of the value. */
  readonly accumulated: ReadonlyMap<string, number>;
}

/** What weight-only measured on the very weights of the artifact comes first. */
function layerLine(line: LayerReport, layer: CandidateLayer | undefined, { local, accumulated }: InnerNoise): LayerReport {
  if (!layer || layer.nodes[0] !== line.node) return line;
  const alone = local.get(layer);
  const together = accumulated.get(layer.output);
  return {
    ...(typeof alone?.sqnr_db === 'number' ? { sqnr_local_db: alone.sqnr_db } : {}),
    ...(typeof alone?.cosine === 'number' ? { cosine: alone.cosine } : {}),
    ...(together === undefined ? {} : { sqnr_db: together }),
    ...line,
  };
}
