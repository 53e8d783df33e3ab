/** Cast merging: a cast to a type that holds every value of the first one, and on to a third, is one cast. */
import { type DataType, dataTypeFromCode, intAttribute } from '../ir/index.js';
import type { Pass } from './pass.js';
import type { Rewrite } from './rewrite.js';

/**
 * Types that hold every value of a type and convert on like it. Integers and floats are kept apart, because a negative
 * integer wraps on its way to an unsigned type and the same number as a float does not.
 */
const widerTypes: Readonly<Partial<Record<DataType, readonly DataType[]>>> = {
  bool: ['int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64', 'float16', 'float32', 'float64'],
  int8: ['int16', 'int32', 'int64'],
  uint8: ['uint16', 'int16', 'uint32', 'int32', 'uint64', 'int64'],
  int16: ['int32', 'int64'],
  uint16: ['uint32', 'int32', 'uint64', 'int64'],
  int32: ['int64'],
  uint32: ['uint64', 'int64'],
  float16: ['float32', 'float64'],
  bfloat16: ['float32', 'float64'],
  float32: ['float64'],
};

/** cast(cast(x, b), c) = cast(x, c) when b holds every value of the type of x. */
export const castMerging: Pass = {
  name: 'cast-merging',
  opTypes: ['Cast'],
  rewrite(node, scope): Rewrite | null {
    const first = node.inputs[0]?.producer;
    const source = first?.inputs[0];
    if (first?.opType !== 'Cast' || first.domain !== '' || !source) return null;
    const from = scope.facts.fact(source).dataType;
    const between = dataTypeFromCode(intAttribute(first, 'to', 0));
    if (from === null || between === undefined || !widerTypes[from]?.includes(between)) return null;
    const merged = scope.editor.replacement(node, { opType: 'Cast', inputs: [source], attributes: node.attributes });
    return { reason: 'the type between holds every value', anchor: node, insert: [merged], remove: [node] };
  },
};
