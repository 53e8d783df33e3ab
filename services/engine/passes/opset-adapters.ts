/** What changed incompatibly between versions of the ONNX operator set, and how a node of the old version is written in the new one. */
import { elementWriters } from '../ir/element-access.js';
import {
  attributeOf,
  byteCount,
  bytesInMemory,
  type DataType,
  float32Tensor,
  float32Values,
  floatAttribute,
  int64Tensor,
  intAttribute,
  intsAttribute,
  Node,
  stringAttribute,
  type Tensor,
  type Value,
} from '../ir/index.js';
import type { ModelFacts } from './model-facts.js';
import { normalizeAxis } from './value-facts.js';

/** Where an adapter works. */
export interface UpgradeScope {
  /** Version that the model gets in the end: an adapter may write what only that version allows. */
  readonly to: number;
  readonly facts: ModelFacts;
  /** True when a node reads the value or a graph returns it. */
  isLive(value: Value): boolean;
  /** A constant that `node` can read. */
  constant(node: Node, role: string, tensor: Tensor): Value;
  newValue(node: Node, role: string): Value;
  newNodeName(node: Node, role: string): string;
}

/** Edits the node, or puts others in its place; returns why it cannot. */
export type Adapter = (node: Node, scope: UpgradeScope) => string | undefined;

const floatingTypes: ReadonlySet<DataType> = new Set(['float32', 'float64', 'float16']);

/** Attribute `name` becomes input `index`, an int64 vector; nothing happens when the node has no such attribute. */
function intsToInput(node: Node, name: string, index: number, scope: UpgradeScope): void {
  const values = intsAttribute(node, name, undefined);
  if (!values) return;
  const attribute = node.attributes.get(name);
  const exact = attribute?.kind === 'ints' ? attribute.value : values;
  node.attributes.delete(name);
  node.setInput(index, scope.constant(node, name, int64Tensor([values.length], exact)));
}

/** A float attribute becomes a scalar input of the type of input 0. */
function floatToInput(node: Node, name: string, index: number, scope: UpgradeScope): string | undefined {
  const value = floatAttribute(node, name, undefined);
  if (value === undefined) return undefined;
  const { dataType } = scope.facts.fact(node.inputs[0]);
  if (!dataType || !floatingTypes.has(dataType)) return `the type of its input, which its ${name} must have, is not known`;
  node.attributes.delete(name);
  const bytes = new Uint8Array(byteCount(dataType, 1));
  elementWriters[dataType]?.(new DataView(bytes.buffer), 0, value);
  node.setInput(index, scope.constant(node, name, { dataType, dims: [], data: bytesInMemory(bytes) }));
  return undefined;
}

const axesToInput: Adapter = (node, scope) => {
  intsToInput(node, 'axes', 1, scope);
  return undefined;
};

const sliceOperandsToInputs: Adapter = (node, scope) => {
  for (const [at, name] of ['starts', 'ends', 'axes'].entries()) intsToInput(node, name, at + 1, scope);
  return undefined;
};

const padOperandsToInputs: Adapter = (node, scope) => {
  intsToInput(node, 'pads', 1, scope);
  if (floatAttribute(node, 'value', 0) === 0) node.attributes.delete('value');
  return floatToInput(node, 'value', 2, scope);
};

const clipBoundsToInputs: Adapter = (node, scope) => floatToInput(node, 'min', 1, scope) ?? floatToInput(node, 'max', 2, scope);

const topKCountToInput: Adapter = (node, scope) => {
  const count = intAttribute(node, 'k', undefined);
  if (count === undefined) return 'it has no attribute k';
  node.attributes.delete('k');
  node.setInput(1, scope.constant(node, 'k', int64Tensor([1], [count])));
  return undefined;
};

const splitSizesToInput: Adapter = (node, scope) => {
  intsToInput(node, 'split', 1, scope);
  return undefined;
};

/** Without sizes, version 18 wants to be told the number of equal parts. */
const splitCount: Adapter = (node) => {
  if (!node.inputs[1]) node.attributes.set('num_outputs', attributeOf.int(node.outputs.length));
  return undefined;
};

/** The old operator returned the mask in other types and with other contents. */
const dropoutMask: Adapter = (node, scope) => {
  const [, mask] = node.outputs;
  if (mask && scope.isLive(mask)) return 'its mask is read, which newer versions define differently';
  node.truncateOutputs(1);
  return undefined;
};

/** Without the input training_mode, version 12 is inference, as all versions before were. */
const dropoutRatioToInput: Adapter = (node, scope) => {
  const ratio = floatAttribute(node, 'ratio', 0.5);
  node.attributes.delete('ratio');
  node.setInput(1, scope.constant(node, 'ratio', float32Tensor([], [ratio])));
  return dropoutMask(node, scope);
};

const batchNormalizationSpatial: Adapter = (node) => {
  if (intAttribute(node, 'spatial', 1) === 0) return 'it normalizes each position by itself (spatial = 0), which version 9 removed';
  node.attributes.delete('spatial');
  return undefined;
};

const batchNormalizationTraining: Adapter = (node, scope) => {
  if (node.outputs.slice(1).some((output) => output && scope.isLive(output))) return 'its training outputs are read';
  node.truncateOutputs(1);
  return undefined;
};

/**
 * Before version 13, Softmax, LogSoftmax and Hardmax see a matrix: the axes before `axis` (default 1) are its rows, all
 * others its columns. From 13 on they work along one axis (default -1). The two are one when `axis` is the last axis or all
 * sizes behind it are 1; otherwise y = Reshape(f(Flatten(x, axis), -1), Shape(x)).
 */
const softmaxAxis: Adapter = (node, scope) => {
  const [x] = node.inputs;
  const [y] = node.outputs;
  if (!x || !y) return 'it has no input or no output';
  const axis = intAttribute(node, 'axis', 1);
  const shape = scope.facts.shape(x);
  const behind = shape?.slice(normalizeAxis(axis, shape.length) + 1);
  if (axis === -1 || (shape && normalizeAxis(axis, shape.length) < shape.length && behind?.every((size) => size === 1))) {
    node.attributes.set('axis', attributeOf.int(axis));
    return undefined;
  }
  const [rows, dims, scores] = ['rows', 'shape', 'scores'].map((role) => scope.newValue(node, role));
  if (!rows || !dims || !scores) return undefined;
  const made = (role: string, opType: string, inputs: readonly Value[], output: Value, attributes = {}): Node =>
    new Node({ opType, name: scope.newNodeName(node, role), inputs, outputs: [output], attributes });
  node.setInput(0, rows);
  node.setOutput(0, scores);
  node.attributes.set('axis', attributeOf.int(-1));
  node.graph?.insertBefore(node, made('shape', 'Shape', [x], dims), made('flatten', 'Flatten', [x], rows, { axis: attributeOf.int(axis) }));
  node.graph?.insertAfter(node, made('reshape', 'Reshape', [scores, dims], y));
  return undefined;
};

/** The node under another operator's name: same name, same outputs. */
function replaceBy(node: Node, opType: string, inputs: readonly (Value | null)[], attributes: Node['attributes'] = node.attributes): void {
  const { graph, name, outputs, metadata, docString } = node;
  const replacement = new Node({
    ...{ opType, name, inputs, outputs, attributes },
    ...(metadata ? { metadata } : {}),
    ...(docString === undefined ? {} : { docString }),
  });
  graph?.insertBefore(node, replacement);
  graph?.remove([node]);
}

const upsampleScalesToInput: Adapter = (node, scope) => {
  const scales = node.attributes.get('scales');
  if (scales?.kind !== 'floats') return 'it has no attribute scales';
  node.attributes.delete('scales');
  node.setInput(1, scope.constant(node, 'scales', float32Tensor([scales.value.length], scales.value)));
  return undefined;
};

/** Versions 11 and 12 require the input roi even where nothing reads it. */
function noRegion(node: Node, scope: UpgradeScope): Value | null {
  return scope.to >= 13 ? null : scope.constant(node, 'roi', float32Tensor([0], []));
}

/** x_old = x_new / scale; the nearest element is the one below, as scales of Upsample are at least 1. */
function asymmetric(node: Node, nearestMode: string): Node['attributes'] {
  const attributes = new Map(node.attributes);
  attributes.set('coordinate_transformation_mode', attributeOf.string('asymmetric'));
  if (stringAttribute(node, 'mode', 'nearest') === 'nearest') attributes.set('nearest_mode', attributeOf.string(nearestMode));
  return attributes;
}

const upsampleToResize: Adapter = (node, scope) => {
  const [x = null, scales = null] = node.inputs;
  if (scope.to < 11) replaceBy(node, 'Resize', [x, scales]);
  else replaceBy(node, 'Resize', [x, noRegion(node, scope), scales], asymmetric(node, 'floor'));
  return undefined;
};

/** Resize-10 takes the element below when it enlarges an axis and the one above when it shrinks it (onnxruntime, upsample.cc). */
const resizeCoordinates: Adapter = (node, scope) => {
  if (node.attributes.has('coordinate_transformation_mode')) return undefined;
  const [x = null, scales = null] = node.inputs;
  const known = scope.facts.constant(scales);
  const factors = known?.dataType === 'float32' ? [...float32Values(known)] : undefined;
  const isNearest = stringAttribute(node, 'mode', 'nearest') === 'nearest';
  const isShrinking = factors?.some((factor) => factor < 1) ?? false;
  if (isNearest && (!factors || (isShrinking && factors.some((factor) => factor > 1))))
    return 'it rounds to nearest by factors that are not constant, or enlarges one axis and shrinks another';
  replaceBy(node, 'Resize', [x, noRegion(node, scope), scales], asymmetric(node, isShrinking ? 'ceil' : 'floor'));
  return undefined;
};

/** Before version 13 `scales` had to be an empty tensor beside `sizes`; from 18 on it must be absent. */
const resizeOperands: Adapter = (node) => {
  const mode = stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel');
  if (mode === 'tf_half_pixel_for_nn')
    return 'its coordinates (tf_half_pixel_for_nn) were removed in version 13; export it with another mode';
  if (node.inputs[3]) node.setInput(2, null);
  if (mode !== 'tf_crop_and_resize') node.setInput(1, null);
  return undefined;
};

const scatterToScatterElements: Adapter = (node) => {
  replaceBy(node, 'ScatterElements', node.inputs);
  return undefined;
};

const roiAlignCoordinates: Adapter = (node) => {
  node.attributes.set('coordinate_transformation_mode', attributeOf.string('output_half_pixel'));
  return undefined;
};

const gridSampleModes: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic', nearest: 'nearest' };

const gridSampleMode: Adapter = (node) => {
  const mode = stringAttribute(node, 'mode', 'bilinear');
  node.attributes.set('mode', attributeOf.string(gridSampleModes[mode] ?? mode));
  return undefined;
};

const dftAxisToInput: Adapter = (node, scope) => {
  const axis = intAttribute(node, 'axis', 1);
  node.attributes.delete('axis');
  node.setInput(2, scope.constant(node, 'axis', int64Tensor([], [axis])));
  return undefined;
};

/** Scale and bias per group become scale and bias per channel: each repeated for the channels of its group. */
const groupNormalizationPerChannel: Adapter = (node, scope) => {
  const channels = scope.facts.shape(node.inputs[0])?.[1];
  const groups = intAttribute(node, 'num_groups', 1);
  if (typeof channels !== 'number') return 'its number of channels is not known';
  for (const [index, role] of [
    [1, 'scale'],
    [2, 'bias'],
  ] as const) {
    let last = node.inputs[index] ?? null;
    const steps: readonly (readonly [opType: string, dims: readonly number[]])[] = [
      ['Reshape', [groups, 1]],
      ['Expand', [groups, channels / groups]],
      ['Reshape', [channels]],
    ];
    for (const [opType, dims] of steps) {
      const shape = scope.constant(node, `${role}_shape`, int64Tensor([dims.length], dims));
      const output = scope.newValue(node, role);
      const made = new Node({ opType, name: scope.newNodeName(node, role), inputs: [last, shape], outputs: [output] });
      node.graph?.insertBefore(node, made);
      last = output;
    }
    node.setInput(index, last);
  }
  return undefined;
};

const obstacle =
  (reason: string): Adapter =>
  () =>
    reason;

/** Measured by loading a one-node model of each operator and version. */
const noKernel = { 22: obstacle('onnxruntime 1.30 has no kernel for it in version 22 and later') };

const reductionAxes = { 18: axesToInput };

/**
 * By operator and by the version that changed it. Every other change of an operator in `onnxOperators` up to version 26 only
 * adds types, inputs, outputs or attributes whose absence means what it meant before (https://onnx.ai/onnx/operators).
 */
export const adapters: Readonly<Record<string, Readonly<Record<number, Adapter>>>> = {
  BatchNormalization: { 9: batchNormalizationSpatial, 14: batchNormalizationTraining },
  Bernoulli: noKernel,
  Clip: { 11: clipBoundsToInputs },
  DFT: { 20: dftAxisToInput },
  Dropout: { 10: dropoutMask, 12: dropoutRatioToInput },
  GlobalLpPool: noKernel,
  GridSample: { 20: gridSampleMode },
  GroupNormalization: { 21: groupNormalizationPerChannel },
  Hardmax: { 13: softmaxAxis },
  LogSoftmax: { 13: softmaxAxis },
  MaxRoiPool: noKernel,
  Multinomial: noKernel,
  Pad: { 11: padOperandsToInputs },
  RandomNormal: noKernel,
  RandomNormalLike: noKernel,
  RandomUniform: noKernel,
  RandomUniformLike: noKernel,
  ReduceL1: reductionAxes,
  ReduceL2: reductionAxes,
  ReduceLogSum: reductionAxes,
  ReduceLogSumExp: reductionAxes,
  ReduceMax: reductionAxes,
  ReduceMean: reductionAxes,
  ReduceMin: reductionAxes,
  ReduceProd: reductionAxes,
  ReduceSum: { 13: axesToInput },
  ReduceSumSquare: reductionAxes,
  Resize: { 11: resizeCoordinates, 13: resizeOperands, 18: resizeOperands },
  RoiAlign: { 16: roiAlignCoordinates, ...noKernel },
  Scan: { 9: obstacle('Scan of version 8 has a batch axis that later versions do not have') },
  Scatter: { 11: scatterToScatterElements },
  Slice: { 10: sliceOperandsToInputs },
  Softmax: { 13: softmaxAxis },
  Split: { 13: splitSizesToInput, 18: splitCount },
  Squeeze: { 13: axesToInput },
  TopK: { 10: topKCountToInput },
  Unsqueeze: { 13: axesToInput },
  Upsample: { 9: upsampleScalesToInput, 10: upsampleToResize },
};
