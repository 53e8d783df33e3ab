/** Method float16: a graph that computes in 16 bit floats for targets that have them, or weights stored in them. */
import { EngineError } from '../../engine-errors.js';
import { cloneModel, elementCount, graphsWithin, type Model, type Node } from '../../ir/index.js';
import { reportName, WeightStore } from '../../layers/weight-store.js';
import type { LayerReport, MethodContext, MethodOutcome, NodeChange } from '../../method.js';
import { upgradeOpset } from '../../passes/opset-upgrade.js';
import { timeModels } from '../../timing/whole-model-timing.js';
import { storeInHalf } from '../float16-storage.js';
import { type HalfFormat, halfFormats } from './half-format.js';
import { type ConstantChange, HalfRewriting } from './half-rewriting.js';
import type { Float16Options } from './options.js';
import { PrecisionPlan } from './precision-plan.js';
import { type WideTensors, wideTensors } from './wide-tensors.js';

const METHOD = 'float16';
/** The operator sets in which Cast, and nearly all operators, know bfloat16. */
const BFLOAT16_CAST_OPSET = 13;
const BFLOAT16_GRAPH_OPSET = 22;

export async function float16(model: Model, options: Float16Options, context: MethodContext): Promise<MethodOutcome> {
  const format = halfFormats[options.type ?? 'float16'];
  return options.compute === 'storage' ? halfStorage(model, { format, options }, context) : halfGraph(model, { format, options }, context);
}

interface HalfRequest {
  readonly format: HalfFormat;
  readonly options: Float16Options;
}

async function halfStorage(model: Model, { format, options }: HalfRequest, context: MethodContext): Promise<MethodOutcome> {
  const raised = format.type === 'bfloat16' ? raiseOpset(model, BFLOAT16_CAST_OPSET, format) : [];
  const keepOpTypes = new Set(options.keep_op_types);
  const nodes = await storeInHalf(model, { format, by: METHOD, exclude: options.exclude ?? [], keepOpTypes }, context);
  return { nodes: [...raised, ...nodes] };
}

async function halfGraph(model: Model, { format, options }: HalfRequest, context: MethodContext): Promise<MethodOutcome> {
  const before = cloneModel(model);
  const raised = format.type === 'bfloat16' ? raiseOpset(model, BFLOAT16_GRAPH_OPSET, format) : [];
  const samples = format.type === 'float16' ? context.calibration : undefined;
  const wide = samples ? await wideTensors(model, format, { samples, context }) : undefined;
  context.progress(0.5, 'ranges checked');
  const store = new WeightStore(model);
  const keepOpTypes = new Set(options.keep_op_types);
  const plan = new PrecisionPlan(model, store, { format, keepOpTypes, exclude: options.exclude ?? [], wide: wide?.names ?? new Set() });
  const layers = layersOf(model, plan, store, format);
  const rewriting = new HalfRewriting({ model, store, plan, format });
  rewriting.run();
  if (format.type === 'bfloat16') await requireBfloat16(model, context);
  const warnings =
    plan.half.size === 0
      ? [`No node computes in ${format.type}: \`nodes\` says why for each.`]
      : [...rangeWarnings(format, rewriting.constants, wide), ...(await costWarnings({ before, after: model }, format, context))];
  return { nodes: [...raised, ...nodeChanges(plan, format)], layers, warnings, ...(wide ? { calibration: wide.calibration } : {}) };
}

function raiseOpset(model: Model, to: number, { type }: HalfFormat): readonly NodeChange[] {
  const { changed, obstacle } = upgradeOpset(model, to);
  if (obstacle === null) return changed;
  throw new EngineError(
    'recipe_invalid',
    `${type} needs operator set ${to}, and the model cannot be raised to it: ${obstacle}. Use type 'float16'.`,
  );
}

/** A graph that cannot be loaded cannot be verified, and nothing leaves unverified. */
async function requireBfloat16(model: Model, context: MethodContext): Promise<void> {
  try {
    const session = await context.runtime.open(model);
    await session.close();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new EngineError(
      'recipe_invalid',
      `${context.runtime.name} on this machine does not run a bfloat16 graph, so it cannot be verified (${reason}). Use compute 'storage', or type 'float16'.`,
      {},
      { cause },
    );
  }
}

function nodeChanges(plan: PrecisionPlan, { type }: HalfFormat): NodeChange[] {
  const line = (node: Node, action: 'changed' | 'left', reason: string): NodeChange => ({
    ...{ node: reportName(node), op_type: node.opType, by: METHOD },
    ...{ action, reason },
  });
  return [
    ...[...plan.half].map((node) => line(node, 'changed', `takes and makes ${type}`)),
    ...[...plan.reasons].map(([node, reason]) => line(node, 'left', `stays float32: ${reason}`)),
  ];
}

/** The nodes that hold float32 weights, before the rewriting. */
function layersOf(model: Model, plan: PrecisionPlan, store: WeightStore, { type }: HalfFormat): LayerReport[] {
  const nodes = [...graphsWithin(model.graph)].flatMap((graph) => graph.nodes);
  return nodes.flatMap((node) => {
    const weights = node.inputs.flatMap((value) => store.constant(value) ?? []).filter(({ tensor }) => tensor.dataType === 'float32');
    const elements = weights.reduce((sum, { tensor }) => sum + elementCount(tensor.dims), 0);
    if (elements === 0) return [];
    const isHalf = plan.half.has(node);
    const sizes = { bytes_before: 4 * elements, bytes_after: (isHalf ? 2 : 4) * elements };
    return [{ node: reportName(node), op_type: node.opType, form: isHalf ? type : 'float32', ...sizes }];
  });
}

function rangeWarnings(format: HalfFormat, constants: readonly ConstantChange[], wide: WideTensors | undefined): string[] {
  const sentence = (key: 'clamped' | 'raised', what: string): string[] => {
    const affected = constants.filter((constant) => constant[key] > 0);
    const [first] = affected;
    const count = affected.reduce((sum, constant) => sum + constant[key], 0);
    return first ? [`${count} values of ${affected.length} constants ("${first.name}" first) ${what}.`] : [];
  };
  const checked = (): string[] => {
    if (!wide)
      return [`Ranges of activations were not checked against ${format.max}: give a calibration set to keep what exceeds it in float32.`];
    const [first] = wide.names;
    return first === undefined
      ? []
      : [`${wide.names.size} tensors ("${first}" first) exceed ${format.max} and stay float32 with all that touches them.`];
  };
  return [
    ...sentence('clamped', `lie beyond +-${format.max}, the largest ${format.type}, and were set to it`),
    ...sentence('raised', `are smaller than ${format.min.toExponential(2)}, the smallest ${format.type}, and were set to it`),
    ...(format.type === 'float16' ? checked() : []),
  ];
}

/** The graph was asked for, so it is kept; what it costs on this processor is said. */
async function costWarnings(models: { before: Model; after: Model }, { type }: HalfFormat, context: MethodContext): Promise<string[]> {
  if (!context.target.startsWith('x64')) return [`The ${type} graph was not timed: this machine is no ${context.target}.`];
  const fact = `onnxruntime has no ${type} kernels for x64: it casts every operand to float32 and computes there`;
  const advice = `for this target, compute 'storage' has the same size at the speed of float32`;
  const timing = context.objective === 'latency' ? await timeModels(models.before, models.after, context) : undefined;
  if (!timing) return [`${fact}; ${advice}.`];
  const measured = `measured ${timing.after.toPrecision(3)} ms for the ${type} graph and ${timing.before.toPrecision(3)} ms for the float32 graph`;
  return [`${fact} (${measured}); ${advice}.`];
}
