/** Method distribution-aware: LSTM, GRU and attention in 3 to 8 bits, every range chosen by what it does to the outputs. */
import { EngineError } from '../engine-errors.js';
import { adoptModel } from '../ir/adopt-model.js';
import { cloneModel, type Model } from '../ir/index.js';
import { type MethodContext, type MethodOutcome, partOf } from '../method.js';
import { upgradeOpset } from '../passes/opset-upgrade.js';
import { chooseSettings } from './chosen-settings.js';
import { emitQuantized } from './emission.js';
import { fasterKernels } from './integer-kernels.js';
import type { DistributionAwareOptions } from './options.js';
import { planQuantization } from './quantization-plan.js';
import { outcomeOf } from './report-lines.js';
import { spreadSamples } from './spread-samples.js';

/** What the loops are written in: sizes and bounds as inputs. */
const OPSET = 13;
const SAMPLES = 1024;
/** Samples of one run. */
const BATCH = 64;
/** Throws EngineError `recipe_invalid` without samples or without anything to quantize. Edits the model in place. */
export async function distributionAware(model: Model, options: DistributionAwareOptions, context: MethodContext): Promise<MethodOutcome> {
  if (!context.calibration)
    throw new EngineError('recipe_invalid', 'distribution-aware chooses ranges by outputs: give a data set with windows.');
  const started = performance.now();
  const upgraded = upgradeOpset(model, OPSET);
  if (upgraded.obstacle)
    throw new EngineError('recipe_invalid', `The model cannot be raised to operator set ${OPSET}: ${upgraded.obstacle}.`);
  const { per_channel: perChannel = true, ranges = 'searched', exclude = [] } = options;
  const plan = planQuantization(model, { perChannel, exclude, rounding: ranges === 'extremes' ? 'rtn' : 'mse' });
  if (plan.weights.length === 0)
    throw new EngineError('recipe_invalid', 'The model has no LSTM, GRU or product with constant weights that could be quantized.');
  const samples = { count: options.samples ?? SAMPLES, size: BATCH, signal: context.signal };
  const runs = await spreadSamples(context.calibration, samples);
  const settings = await chooseSettings(model, plan, { runs, options, context: partOf(context, 0, 0.9) });
  const float = cloneModel(model);
  emitQuantized(model, plan, settings);
  const kernels = await fasterKernels({ float, codes: model, settings, wish: options.integer_kernels ?? 'measure', context });
  if (kernels) adoptModel(model, kernels.model);
  const seconds = (performance.now() - started) / 1000;
  const calibration = {
    samples: runs.reduce((sum, { sampleCount }) => sum + sampleCount, 0),
    given: context.calibration.sampleCount,
    seconds,
  };
  const outcome = outcomeOf(plan, settings, { calibration, ...(kernels ? { kernels } : {}) });
  return { ...outcome, nodes: [...upgraded.changed, ...outcome.nodes] };
}
