/** Method static-int8: weights and activations on 8-bit codes where the runtime has integer kernels and this machine measures a gain. */
import { EngineError } from '../../engine-errors.js';
import { cloneModel } from '../../ir/clone-model.js';
import type { Model, Node } from '../../ir/index.js';
import { nameNodes } from '../../layers/node-names.js';
import { reportName } from '../../layers/weight-store.js';
import { type MethodContext, type MethodOutcome, type NodeChange, partOf } from '../../method.js';
import { upgradeOpset } from '../../passes/opset-upgrade.js';
import { poolSpatialMeans } from '../../passes/spatial-mean-pooling.js';
import { equalizeLayers } from '../cross-layer-equalization.js';
import { activationRanges } from './activation-ranges.js';
import { boundLoss } from './bounded-loss.js';
import { integerForm } from './integer-form.js';
import type { IntegerUnit, UnitSearch } from './integer-units.js';
import { layerReports } from './layer-reports.js';
import { layerRoundings } from './layer-roundings.js';
import { observe } from './observed-tensors.js';
import type { StaticInt8Options } from './options.js';
import { correctSequentially } from './sequential-bias.js';
import { hasUnequalChannels, smoothInputs } from './smoothed-inputs.js';
import { candidate, quantizeLayers, searchUnits, writableUnits, writeUnits } from './static-candidate.js';
import { correctStoredBiases } from './stored-biases.js';
import { storeFloatLayers } from './stored-layers.js';
import { placeUnits, type UnitPlacement } from './unit-placement.js';

const METHOD = 'static-int8';

/** Operator set from which QuantizeLinear takes one scale per channel. */
const OPSET = 13;
/** Operator set from which it takes 16-bit codes. */
const OPSET_OF_16_BITS = 21;

/**
 * Quantizes `model` in place. Throws EngineError `recipe_invalid` without calibration samples, `model_unsupported` when the
 * operator set cannot be raised to 13.
 */
export async function staticInt8(model: Model, options: StaticInt8Options, context: MethodContext): Promise<MethodOutcome> {
  const samples = context.calibration;
  if (!samples)
    throw new EngineError(
      'recipe_invalid',
      'static-int8 needs calibration samples: give a data set of typical inputs (--data, or data.calibration_id).',
    );
  const prepared = [
    ...prepare(model, neededOpset(options)),
    ...(options.equalize ? equalizeLayers(model) : []),
    ...((options.smooth ?? hasUnequalChannels(model)) ? await smoothInputs(model, context) : []),
  ];
  const observed = await observe(model, {
    options,
    samples,
    context: partOf(context, 0, 0.6),
  });
  context.progress(0.6, 'codes of the weights');
  const search = searchUnits(model, options);
  const parameters = activationRanges({ units: search.units, calibrated: observed.ranges, options });
  const roundings = await layerRoundings(model, { units: search.units, rounding: options.rounding ?? 'nearest', samples }, context);
  const codes = quantizeLayers(search.units, { parameters, statistics: observed.statistics, roundings, options, context });
  const rounded = { parameters, codes, ranks: observed.ranks };
  const form = integerForm(model.graph, writableUnits(search.units, rounded), observed.ranks);
  const sequential = { model, units: form.units, options, parts: rounded, samples };
  const parts = options.bias_correction === 'sequential' ? { ...rounded, codes: await correctSequentially(sequential, context) } : rounded;
  context.progress(0.7, 'times of the operators');
  const placement = await placeUnits(
    model,
    { units: form.units, options, parts, sizes: observed.sizes, statistics: observed.statistics },
    context,
  );
  const bounded = await boundLoss({ model, units: form.units, names: placement.names, options, parts }, context);
  const float = cloneModel(model);
  const written = writeUnits(model, bounded.names, { options, parts });
  const stored = await storeFloatLayers(model, { exclude: options.exclude ?? [], by: METHOD }, context);
  if (options.bias_correction !== 'off') {
    const names = new Set(stored.nodes.map(({ node }) => node));
    correctStoredBiases(model, { units: search.units, stored: names, statistics: observed.statistics });
  }
  context.progress(0.9, 'noise of the layers');
  const inPairs = { ...options, format: 'qdq' } as const;
  const observable = options.format === 'qoperator' ? candidate(float, bounded.names, { options: inPairs, parts }) : model;
  const layers = await layerReports({ float, quantized: model, observable, units: written.units, parts, observed, placement }, context);
  return {
    nodes: [
      ...prepared,
      ...changesOf(search, form.units, { written: written.units, placement, reverted: bounded.reverted, stored: stored.nodes }),
      ...stored.nodes,
    ],
    layers: [...layers, ...(stored.layers ?? [])],
    calibration: observed.summary,
    warnings: bounded.warnings,
  };
}

function neededOpset({ activation_type, overrides = [] }: StaticInt8Options): number {
  const types = [activation_type, ...overrides.map(({ type }) => type)];
  return types.some((type) => type === 'uint16' || type === 'int16') ? OPSET_OF_16_BITS : OPSET;
}

/** Exact changes that the integer patterns need: names, operator set. */
function prepare(model: Model, opset: number): readonly NodeChange[] {
  nameNodes(model, [model.graph]);
  const { changed, obstacle } = upgradeOpset(model, opset);
  if (obstacle)
    throw new EngineError(
      'model_unsupported',
      `static-int8 needs operator set ${opset}: ${obstacle}. Export the model with a newer operator set.`,
    );
  return [...changed, ...poolSpatialMeans(model)];
}

interface Decisions {
  readonly written: readonly IntegerUnit[];
  readonly placement: UnitPlacement;
  readonly reverted: ReadonlyMap<string, string>;
  readonly stored: readonly NodeChange[];
}

/** One line for each node that was looked at; what was stored instead has a line of its own. */
function changesOf({ units, left }: UnitSearch, placed: readonly IntegerUnit[], decisions: Decisions): NodeChange[] {
  const onCodes = new Set(decisions.written.map(({ name }) => name));
  const isPlaced = new Set(placed.map(({ name }) => name));
  const told = new Set(decisions.stored.map(({ node }) => node));
  const { placement, reverted } = decisions;
  const lines: NodeChange[] = units.flatMap(({ name, node }): NodeChange[] => {
    const time = placement.times.get(name);
    const measured = time ? ` (${time.float.toFixed(0)} us in float32, ${time.integer.toFixed(0)} us on codes)` : '';
    if (onCodes.has(name)) return [line(node, 'changed', `computes on 8-bit codes${measured}: ${placement.ground}`)];
    if (told.has(name)) return [];
    if (!isPlaced.has(name))
      return [line(node, 'left', 'it does not lie between integer layers: converting would cost more than it gains')];
    return [line(node, 'left', reverted.get(name) ?? `stays float32${measured}: ${placement.ground}`)];
  });
  for (const [node, reason] of left) if (!told.has(reportName(node))) lines.push(line(node, 'left', reason));
  return lines;
}

function line(node: Node, action: NodeChange['action'], reason: string): NodeChange {
  return { node: reportName(node), op_type: node.opType, action, by: METHOD, reason };
}
