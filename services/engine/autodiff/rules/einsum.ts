/** The gradient of Einsum. */
import { attributeOf, stringAttribute, type Value } from '../../ir/index.js';
import { sumTo } from '../broadcasting.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { unknownOperand } from '../no-gradient.js';

interface Equation {
  /** Letters of the axes of each operand. */
  readonly terms: readonly string[];
  readonly result: string;
}

/** Without an arrow the result has the letters that stand once, in the order of the alphabet (ONNX Einsum). */
function parse(text: string): Equation {
  const [left = '', right] = text.replaceAll(/\s/g, '').split('->');
  const terms = left.split(',');
  const all = [...left.replaceAll(',', '')];
  const once = () =>
    all
      .filter((letter) => all.indexOf(letter) === all.lastIndexOf(letter))
      .sort()
      .join('');
  return { terms, result: right ?? once() };
}

/**
 * y[r] = sum over the other letters of the product of the operands x_i[t_i]. It is linear in each operand, so
 * x_k'[t_k] = sum over the other letters of y'[r] times the product of the other operands: an Einsum in which y and x_k change
 * places. A letter of x_k that stands nowhere else was only summed over: the gradient is the same along its axis.
 */
const einsum: GradientRule = (step) => {
  const { node } = step;
  const [gradient] = step.gradients;
  if (!gradient) return [];
  const { terms, result } = parse(stringAttribute(node, 'equation', ''));
  if ([...terms, result].some((term) => term.includes('.') || new Set(term).size !== term.length))
    throw unknownOperand(node, 'axes under "..." or of a diagonal');
  return terms.map((term, index) => {
    if (!step.wants(index)) return null;
    const others = terms.flatMap((other, at) => (at === index ? [] : [{ term: other, value: node.inputs[at] as Value }]));
    return operandGradient(step, { term, index, factors: [{ term: result, value: gradient }, ...others] });
  });
};

interface Operand {
  readonly term: string;
  readonly index: number;
  readonly factors: readonly { readonly term: string; readonly value: Value }[];
}

function operandGradient(step: BackwardStep, { term, index, factors }: Operand): Value {
  const { node, write } = step;
  const dims = step.shape(node.inputs[index]);
  const letters = [...term];
  const shared = letters.filter((letter) => factors.some((factor) => factor.term.includes(letter)));
  const equation = `${factors.map((factor) => factor.term).join()}->${shared.join('')}`;
  const values = factors.map(({ value }) => value);
  const product = write.node('Einsum', values, { equation: attributeOf.string(equation) });
  const sizes = lettersOf(step, factors);
  /** What there is of each axis: all of it, or one number where nothing else has the letter at that length. */
  const present = (letter: string): number => Math.min(sizes.get(letter) ?? 1, dims[letters.indexOf(letter)] ?? 1);
  const found = shared.map((letter) => sizes.get(letter) ?? 1);
  const sum = sumTo(write, product, found, shared.map(present));
  const kept = letters.map(present);
  if (kept.join() === dims.join()) return sum;
  return write.node('Expand', [write.node('Reshape', [sum, write.ints(kept)]), write.ints(dims)]);
}

/** An axis of size 1 is repeated where the same letter is longer elsewhere. */
function lettersOf(step: BackwardStep, factors: Operand['factors']): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const [at, { term, value }] of factors.entries()) {
    const dims = step.shape(at === 0 ? step.node.outputs[0] : value);
    for (const [axis, letter] of [...term].entries()) sizes.set(letter, Math.max(sizes.get(letter) ?? 1, dims[axis] ?? 1));
  }
  return sizes;
}

export const einsumRules = { Einsum: einsum } as const satisfies Record<string, GradientRule>;
