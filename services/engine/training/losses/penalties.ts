/** Penalties on whole units: what pulls channels to zero while a network learns, so that pruning them costs nothing. */
import { attributeOf, float32Tensor, type GraphWriter, int64Tensor, type Value } from '../../ir/index.js';
import { type PenaltyGroup, type PenaltyPart, unitSizes } from '../regularization/penalty-groups.js';

/** The graph input of a parameter. */
export type ParameterValues = (part: PenaltyPart) => Value;

const scalar = { keepdims: attributeOf.int(0) };
/** Keeps the slope of a root at 0 finite. */
const EPSILON = 1e-8;

/** sum over channels of |gamma| (Liu et al., Network Slimming, ICCV 2017), of those that can go. */
export function slimming(write: GraphWriter, { parts }: PenaltyGroup, valueFor: ParameterValues): Value {
  return total(
    write,
    parts.map((part) => {
      const channels = new Set(part.indices.flat());
      const counts = Float32Array.from({ length: part.parameter.values.length }, (_, channel) => (channels.has(channel) ? 1 : 0));
      const sizes = write.node('Abs', [valueFor(part)]);
      return write.node('ReduceSum', [write.node('Mul', [sizes, write.constant(float32Tensor([counts.length], counts))])], scalar);
    }),
  );
}

/** sum over units of sqrt(p) ||w||_2, w the p numbers of a unit (Yuan and Lin, Model Selection with Grouped Variables, 2006). */
export function groupLasso(write: GraphWriter, group: PenaltyGroup, valueFor: ParameterValues): Value {
  const roots = write.node('Sqrt', [write.node('Add', [squaresOfUnits(write, group, valueFor), write.float(EPSILON)])]);
  return weighted(write, roots, unitSizes(group).map(Math.sqrt));
}

/**
 * 1/2 sum over units of s ||w||_2^2, s = (I_max - I) / (I_max - I_min) of the group, I the squares of a unit at the beginning: the
 * smaller a unit, the more it is pulled (shares of Fang et al., DepGraph, CVPR 2023). What it is multiplied with grows over the run
 * (Wang et al., Neural Pruning via Growing Regularization, ICLR 2021).
 */
export function growingDecay(write: GraphWriter, group: PenaltyGroup, how: { valueFor: ParameterValues; importance: Float64Array }): Value {
  const [lowest, highest] = [Math.min(...how.importance), Math.max(...how.importance)];
  const shares = Array.from(how.importance, (each) => (highest > lowest ? (highest - each) / (highest - lowest) : 0) / 2);
  return weighted(write, squaresOfUnits(write, group, how.valueFor), shares);
}

function weighted(write: GraphWriter, units: Value, weights: readonly number[]): Value {
  const constant = write.constant(float32Tensor([weights.length], weights));
  return write.node('ReduceSum', [write.node('Mul', [units, constant])], scalar);
}

/** [units]. */
function squaresOfUnits(write: GraphWriter, { parts }: PenaltyGroup, valueFor: ParameterValues): Value {
  return total(
    write,
    parts.map((part) => gathered(write, axisSquares(write, part, valueFor(part)), part)),
  );
}

/** [size of the axis]. */
function axisSquares(write: GraphWriter, { parameter: { dims }, axis, within }: PenaltyPart, value: Value): Value {
  const slice =
    within && write.node('Slice', [value, write.ints([within.from]), write.ints([within.to]), write.ints([within.axis]), write.ints([1])]);
  const own = slice ?? value;
  const others = dims.flatMap((_, each) => (each === axis ? [] : [each]));
  const squares = write.node('Mul', [own, own]);
  return others.length === 0 ? squares : write.node('ReduceSum', [squares, write.ints(others)], scalar);
}

/** The sums of each unit; units with fewer indices than others are filled up with a zero behind the last one. */
function gathered(write: GraphWriter, sums: Value, { parameter: { dims }, axis, indices }: PenaltyPart): Value {
  const size = dims[axis] ?? 1;
  const most = Math.max(...indices.map(({ length }) => length));
  const filled = indices.flatMap((own) => Array.from({ length: most }, (_, at) => own[at] ?? size));
  if (most === 1 && filled.length === size && filled.every((index, at) => index === at)) return sums;
  const none = write.constant(float32Tensor([1], [0]));
  const padded = filled.includes(size) ? write.node('Concat', [sums, none], { axis: attributeOf.int(0) }) : sums;
  const places = write.constant(int64Tensor([indices.length, most], filled));
  const rows = write.node('Gather', [padded, places], { axis: attributeOf.int(0) });
  return write.node('ReduceSum', [rows, write.ints([1])], scalar);
}

const total = (write: GraphWriter, values: readonly Value[]): Value =>
  values.length === 1 ? (values[0] as Value) : write.node('Sum', values);
