/** Method layer-dropping: a shallower network out of a deep one, by leaving out residual blocks or encoder layers; then distil. */
import { EngineError } from '../../engine-errors.js';
import type { Model } from '../../ir/index.js';
import { nameMatcher } from '../../layers/name-patterns.js';
import { nameNodes } from '../../layers/node-names.js';
import { reportName } from '../../layers/weight-store.js';
import { type MethodContext, type MethodOutcome, type NodeChange, partOf } from '../../method.js';
import { cleanUp } from '../../passes/index.js';
import { shapesOnSample } from '../shapes-on-sample.js';
import { dropLayers } from './drop-layers.js';
import { layerEffects } from './layer-effects.js';
import { type ResidualLayer, residualLayers } from './residual-layers.js';

export interface LayerDroppingOptions {
  /** Share of the layers that stay, 0 to 1. Default 0.5. */
  readonly keep?: number;
  /**
   * 'least-effect' (default with samples): those go without which the outputs move least, each tried alone; 'spaced' (default without):
   * what stays is spread evenly over the depth.
   */
  readonly choice?: 'least-effect' | 'spaced';
  /** Instead: layers with a node of one of these names go; '*' stands for any characters. */
  readonly drop?: readonly string[];
}

const METHOD = 'layer-dropping';
const KEEP = 0.5;

interface Dropped {
  readonly layer: ResidualLayer;
  /** From 0. */
  readonly place: number;
  readonly why: string;
}

/** Edits `model` in place. Throws EngineError `recipe_invalid` for options that contradict what is given, or name no layer. */
export async function layerDropping(model: Model, options: LayerDroppingOptions, context: MethodContext): Promise<MethodOutcome> {
  nameNodes(model);
  const { shapes } = await shapesOnSample(model, context, METHOD);
  const layers = residualLayers(model, shapes);
  const dropped = layers.length === 0 && !options.drop ? [] : await chosen(model, layers, { options, context });
  if (dropped.length === 0) return { nodes: [], warnings: [nothingDropped(layers.length)] };
  dropLayers(
    model,
    dropped.map(({ layer }) => layer),
  );
  await cleanUp(model, { ...context, progress: () => undefined });
  return { nodes: dropped.flatMap((each) => linesOf(each, layers.length)) };
}

interface Choice {
  readonly options: LayerDroppingOptions;
  readonly context: MethodContext;
}

async function chosen(model: Model, layers: readonly ResidualLayer[], { options, context }: Choice): Promise<Dropped[]> {
  if (options.drop) return named(layers, options);
  const { calibration: samples } = context;
  const { keep = KEEP, choice = samples ? 'least-effect' : 'spaced' } = options;
  if (choice === 'spaced') return spaced(layers, keep);
  if (!samples)
    throw new EngineError(
      'recipe_invalid',
      '"choice": "least-effect" needs samples: give a data set of typical inputs (--data, or data.calibration_id), or choose "spaced".',
    );
  const effects = await layerEffects(model, layers, { samples, context: partOf(context, 0.1, 0.9) });
  const order = [...effects.keys()].sort((a, b) => (effects[a] ?? 0) - (effects[b] ?? 0));
  const gone = new Set(order.slice(0, layers.length - Math.round(keep * layers.length)));
  return layers.flatMap((layer, place) =>
    gone.has(place)
      ? [{ layer, place, why: `without it alone the outputs move by ${(100 * Math.sqrt(effects[place] ?? 0)).toPrecision(3)} %` }]
      : [],
  );
}

function named(layers: readonly ResidualLayer[], { drop = [], keep, choice }: LayerDroppingOptions): Dropped[] {
  if (keep !== undefined || choice !== undefined)
    throw new EngineError('recipe_invalid', '"drop" names the layers that go: leave out "keep" and "choice".');
  const isNamed = nameMatcher(drop);
  const found = layers.flatMap((layer, place) =>
    nodesOf(layer).some((node) => isNamed(reportName(node)) || isNamed(node.name)) ? [{ layer, place, why: 'the recipe names it' }] : [],
  );
  if (found.length > 0) return found;
  const ends = layers.map((layer) => layer.branches.at(-1)?.sum).join(', ');
  throw new EngineError(
    'recipe_invalid',
    `"drop" names no node of a layer that can go. ${layers.length === 0 ? 'The model has none.' : `These end at ${ends}.`}`,
  );
}

/** Of each run of L layers k = round(keep L), at least one, stay: those at round(i (L - 1) / (k - 1)), so first and last where k > 1. */
function spaced(layers: readonly ResidualLayer[], keep: number): Dropped[] {
  const runs = new Set(layers.map(({ run }) => run));
  return [...runs].flatMap((run) => {
    const members = [...layers.entries()].filter(([, layer]) => layer.run === run);
    const count = Math.max(1, Math.round(keep * members.length));
    const kept = new Set(
      Array.from({ length: count }, (_, at) => (count === 1 ? 0 : Math.round((at * (members.length - 1)) / (count - 1)))),
    );
    const why = `${count} of ${members.length} layers like it stay, spread evenly`;
    return members.flatMap(([place, layer], at) => (kept.has(at) ? [] : [{ layer, place, why }]));
  });
}

const nodesOf = ({ branches }: ResidualLayer) => branches.flatMap(({ nodes }) => nodes);

function linesOf({ layer, place, why }: Dropped, count: number): NodeChange[] {
  const reason = `layer ${place + 1} of ${count} that can go: ${why}`;
  return nodesOf(layer).map((node) => ({ node: reportName(node), op_type: node.opType, action: 'removed', by: METHOD, reason }));
}

function nothingDropped(count: number): string {
  return count === 0
    ? `${METHOD}: the model has no residual branch with an unchanged shortcut, so no layer can go.`
    : `${METHOD}: all ${count} layers stay: lower "keep", or name layers with "drop".`;
}
