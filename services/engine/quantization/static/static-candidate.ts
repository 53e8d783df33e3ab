/** Builds the quantized model for any choice of units: everything is known by names, so that candidates are made on copies. */
import { cloneModel } from '../../ir/clone-model.js';
import type { Model, Node } from '../../ir/index.js';
import { nameMatcher } from '../../layers/name-patterns.js';
import { reportName, WeightStore } from '../../layers/weight-store.js';
import type { MethodContext } from '../../method.js';
import type { ActivationParameters } from './activation-parameters.js';
import { fuseFloatGates } from './float-gates.js';
import { guardFloatWeights } from './float-weight-guard.js';
import { type IntegerForm, integerForm } from './integer-form.js';
import { findUnits, type IntegerUnit, type UnitSearch } from './integer-units.js';
import { type InputStatistics, type LayerCodes, quantizeLayer, type RoundRows } from './layer-codes.js';
import type { StaticInt8Options } from './options.js';
import { emitQdq } from './qdq-emission.js';
import { useIntegerOperators } from './qoperator-form.js';

/** What calibration and rounding gave, by names. */
export interface QuantizedParts {
  readonly parameters: ReadonlyMap<string, ActivationParameters>;
  readonly codes: ReadonlyMap<string, LayerCodes>;
  readonly ranks: ReadonlyMap<string, number>;
}

/** Units of the main graph under the options; nodes need unique names. */
export function searchUnits(model: Model, options: StaticInt8Options, store = new WeightStore(model)): UnitSearch {
  const isExcluded = nameMatcher(options.exclude ?? []);
  const inFloat = (options.overrides ?? []).filter(({ float }) => float === true);
  const floatTensors = nameMatcher(inFloat.flatMap(({ tensors }) => tensors ?? []));
  const floatOperators = new Set(inFloat.flatMap(({ tensors, op_types }) => (tensors ? [] : (op_types ?? []))));
  const refusal = (node: Node): string | null => {
    if (isExcluded(reportName(node))) return 'excluded by the recipe';
    if (options.op_types && !options.op_types.includes(node.opType)) return `op_types does not name ${node.opType}`;
    const isFloat = floatOperators.has(node.opType) || [...node.inputs, ...node.outputs].some((value) => value && floatTensors(value.name));
    return isFloat ? 'an override of the recipe keeps it in float' : null;
  };
  return findUnits(model.graph, { store, opset: model.opset, refusal });
}

export interface CodesRequest {
  readonly parameters: ReadonlyMap<string, ActivationParameters>;
  /** Of activations, by name. */
  readonly statistics: ReadonlyMap<string, { readonly channels?: InputStatistics }>;
  /** Rounding of single layers, by unit; nearest for others. */
  readonly roundings: ReadonlyMap<string, RoundRows>;
  readonly options: StaticInt8Options;
  readonly context: MethodContext;
}

/** Codes of every layer among `units` whose input has parameters. */
export function quantizeLayers(
  units: readonly IntegerUnit[],
  { parameters, statistics, roundings, options, context }: CodesRequest,
): Map<string, LayerCodes> {
  const codes = new Map<string, LayerCodes>();
  const correctBias = options.bias_correction !== 'off';
  const weights = {
    perChannel: options.per_channel ?? true,
    pairSafe: context.target === 'x64',
    reduceRange: options.reduce_range ?? false,
    powerOfTwo: options.power_of_two ?? false,
  };
  for (const { name, layer } of units) {
    const input = layer && parameters.get(layer.activation.name);
    if (!layer || !input) continue;
    context.signal.throwIfAborted();
    const known = statistics.get(layer.activation.name)?.channels;
    const round = roundings.get(name);
    codes.set(
      name,
      quantizeLayer(layer, input, { weights, correctBias, ...(known ? { statistics: known } : {}), ...(round ? { round } : {}) }),
    );
  }
  return codes;
}

/** Units that can be written with what is known: calibrated tensors, quantized weights. */
export function writableUnits(units: readonly IntegerUnit[], { parameters, codes }: QuantizedParts): IntegerUnit[] {
  return units.filter(
    ({ name, layer, inputs, output }) =>
      (layer === null || codes.has(name)) &&
      [...inputs, output].every((value) => parameters.has(value.name) || (layer?.kind === 'dense' && value === output)),
  );
}

/** Writes the named units into `model` itself. */
export function writeUnits(
  model: Model,
  names: ReadonlySet<string>,
  { options, parts }: { options: StaticInt8Options; parts: QuantizedParts },
): IntegerForm {
  const store = new WeightStore(model);
  const units = writableUnits(searchUnits(model, options, store).units, parts).filter(({ name }) => names.has(name));
  const form = integerForm(model.graph, units, parts.ranks);
  emitQdq(model, store, { form, ...parts });
  fuseFloatGates(model, store);
  guardFloatWeights(model.graph, store);
  if (options.format === 'qoperator') useIntegerOperators(model, store, form);
  for (const { layer } of form.units) {
    if (!layer) continue;
    store.dropIfUnread(layer.weight);
    const bias = layer.kind === 'conv' ? layer.bias : layer.bias?.vector;
    if (bias) store.dropIfUnread(bias);
  }
  return form;
}

/** The same on a copy. */
export function candidate(model: Model, names: ReadonlySet<string>, known: { options: StaticInt8Options; parts: QuantizedParts }): Model {
  const copy = cloneModel(model);
  writeUnits(copy, names, known);
  return copy;
}
