/** The tensors of a network whose widths can be chosen: the maps that pass through memory, and the weights of its layers. */
import { type FeatureMap, type NetworkLayers, networkLayers } from '../accelerators/index.js';
import { EngineError } from '../engine-errors.js';
import { cloneModel, float32Values, type Model, type Node, type Tensor } from '../ir/index.js';
import { allFinite } from '../layers/finite-values.js';
import { nameMatcher } from '../layers/name-patterns.js';
import { type Constant, reportName, WeightStore } from '../layers/weight-store.js';
import type { MethodContext, RunSource } from '../method.js';
import { type WeightRows, weightRows } from '../normal-equations/weight-rows.js';
import { observeShapes } from '../runtime/observe-shapes.js';

export interface LowerableMap {
  /** Of the value that is rounded: the one that a layer writes, or an input of the network. */
  readonly name: string;
  readonly map: FeatureMap;
  /** Of the first sample. */
  readonly dims: readonly number[];
  /** Step of the grid that an input's samples lie on, as pixels do; undefined for any other map. */
  readonly gridStep?: number;
}

export interface LowerableWeight {
  readonly name: string;
  readonly node: Node;
  readonly constant: Constant;
  readonly form: WeightRows;
}

export interface NetworkTensors {
  readonly network: NetworkLayers;
  readonly maps: readonly LowerableMap[];
  /** In the order of the graph. */
  readonly weights: readonly LowerableWeight[];
}

/** Sizes are those of the first sample. Maps of other types than float32, and layers named by `exclude`, are left out. */
export async function networkTensors(
  model: Model,
  { samples, exclude, context }: { readonly samples: RunSource; readonly exclude: readonly string[]; readonly context: MethodContext },
): Promise<NetworkTensors> {
  for await (const { feeds } of samples.runs(1, 1)) {
    const { shapes } = await observeShapes(context.runtime, { model, feeds });
    const network = networkLayers(model, shapes);
    const names = network.maps.flatMap(({ names: [name] }) => name ?? []);
    const seen = await valuesOfMaps(model, names, feeds, context);
    const maps = network.maps.flatMap((map): LowerableMap[] => {
      const [name = ''] = map.names;
      const tensor = seen.get(name);
      if (tensor?.dataType !== 'float32') return [];
      const gridStep = model.graph.inputs.some((input) => input.name === name) ? pixelStep(float32Values(tensor)) : undefined;
      return [{ name, map, dims: tensor.dims, ...(gridStep === undefined ? {} : { gridStep }) }];
    });
    return { network, maps, weights: lowerableWeights(model, nameMatcher(exclude)) };
  }
  throw new EngineError('dataset_invalid', 'The calibration data set has no samples.');
}

async function valuesOfMaps(
  model: Model,
  names: readonly string[],
  feeds: ReadonlyMap<string, Tensor>,
  { runtime }: MethodContext,
): Promise<ReadonlyMap<string, Tensor>> {
  const copy = cloneModel(model);
  const made = copy.graph.nodes.flatMap(({ outputs }) => outputs).filter((value) => value !== null && names.includes(value.name));
  copy.graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...made.filter((value) => value !== null));
  if (made.length === 0) return feeds;
  const session = await runtime.open(copy);
  try {
    return new Map([...feeds, ...(await session.run(feeds))]);
  } finally {
    await session.close();
  }
}

/** Steps of pixels: bytes, or bytes as shares of 1. */
const PIXEL_STEPS = [1, 1 / 255] as const;
const GRID_TOLERANCE = 1e-3;

function pixelStep(values: Float32Array): number | undefined {
  const isOnGrid = (step: number): boolean =>
    values.every((value) => value >= 0 && value <= 255.5 * step && Math.abs(value / step - Math.round(value / step)) < GRID_TOLERANCE);
  return values.some((value) => value !== 0) ? PIXEL_STEPS.find(isOnGrid) : undefined;
}

function lowerableWeights(model: Model, isExcluded: (name: string) => boolean): LowerableWeight[] {
  const store = new WeightStore(model);
  return model.graph.nodes.flatMap((node): LowerableWeight[] => {
    if (!['Conv', 'ConvTranspose', 'MatMul', 'Gemm'].includes(node.opType) || isExcluded(reportName(node))) return [];
    const constant = store.constant(node.inputs[1]);
    if (constant?.tensor.dataType !== 'float32' || constant.value.uses.length !== 1 || store.isGraphOutput(constant.value)) return [];
    const form = weightRows(node, 1, constant.tensor);
    if (!form || !allFinite(float32Values(constant.tensor))) return [];
    return [{ name: constant.value.name, node, constant, form }];
  });
}
