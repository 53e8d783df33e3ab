/** Conv and ConvTranspose, plain, grouped and depthwise. */
import { intAttribute, type Node } from '../../../ir/index.js';
import { contracted, join, withoutSpaceAxes } from '../join.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import { groupedConvolution } from './grouped-convolution.js';
import type { StructureRule } from './rule.js';

interface Convolution {
  readonly node: Node;
  readonly data: Carrier;
  readonly weight: Carrier;
  readonly bias: Carrier | undefined;
  readonly group: number;
}

function convolutionOf(node: Node, scope: StructureScope): Convolution | null {
  const [data, weight] = [scope.input(node, 0), scope.input(node, 1)];
  if (!data || !weight || weight.dims.length < 3 || data.dims.length !== weight.dims.length) return null;
  const bias = scope.parameter(node, 2);
  return { node, data, weight, bias, group: intAttribute(node, 'group', 1) };
}

/** The space is [batch, outputs, inputs, kernel]; positions in space stay apart, no channel stands there. */
function plain({ node, data, weight, bias }: Convolution, scope: StructureScope, [outAxis, inAxis]: readonly [number, number]): void {
  const spatial = data.dims.map((_, axis) => axis).slice(2);
  scope.pin(data, `${titleOf(node)} slides over them`, spatial);
  const kernel = spatial.map(() => null);
  const weightPlaces = outAxis === 0 ? [1, 2, ...kernel] : [2, 1, ...kernel];
  // The outputs of a layer are where new slots come from.
  if (weight.constant) scope.single(weight, outAxis);
  const tracks = join(scope, node, 3, [
    { carrier: data, places: [0, 2, ...kernel] },
    { carrier: weight, places: weightPlaces },
    ...(bias ? [{ carrier: bias, places: [1] }] : []),
  ]);
  markWeights(scope, { node, weight }, [outAxis, inAxis]);
  const summed = withoutSpaceAxes(contracted(scope, tracks, 2), [2]);
  const rank = data.dims.length;
  scope.set(
    node.outputs[0],
    summed.map((track) => ({
      ...track,
      slots: { ...track.slots, dims: Array.from({ length: rank }, (_, at) => track.slots.dims[at] ?? 1) },
    })),
  );
}

function markWeights(
  scope: StructureScope,
  { node, weight }: Pick<Convolution, 'node' | 'weight'>,
  [outAxis, inAxis]: readonly [number, number],
): void {
  const output = node.outputs[0] ? { value: node.outputs[0], axis: 1 } : undefined;
  scope.mark({ node, role: 'producer', ...(output ? { output } : {}) }, scope.track(weight, outAxis));
  scope.mark({ node, role: 'consumer' }, scope.track(weight, inAxis));
}

function convolve(stacked: 'outputs' | 'inputs'): StructureRule {
  return (node, scope) => {
    const layer = convolutionOf(node, scope);
    if (!layer) scope.barrier(node, `${titleOf(node)} has weights or data of unknown shape`);
    else if (layer.group === 1) plain(layer, scope, stacked === 'outputs' ? [0, 1] : [1, 0]);
    else {
      scope.pin(layer.data, `${titleOf(node)} slides over them`, [...layer.data.dims.keys()].slice(2));
      const track = groupedConvolution(scope, { ...layer, stacked });
      scope.set(node.outputs[0], [...(track ? [track] : []), ...scope.tracks(layer.data).filter(({ axis }) => axis === 0)]);
    }
  };
}

export const convolution = convolve('outputs');
export const transposedConvolution = convolve('inputs');
