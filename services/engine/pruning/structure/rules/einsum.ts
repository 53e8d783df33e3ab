/** Einsum with named indices: letters are the axes of the space. */
import { type Node, stringAttribute } from '../../../ir/index.js';
import { contracted, join, type Operand, withoutSpaceAxes } from '../join.js';
import { type StructureScope, titleOf } from '../structure-scope.js';
import { axesOf, placedTrack, type Track } from '../track.js';
import type { StructureRule } from './rule.js';

export const einsum: StructureRule = (node, scope) => {
  const [left = '', output] = stringAttribute(node, 'equation', '').replaceAll(' ', '').split('->');
  const terms = left.split(',');
  const letters = [...new Set(terms.join(''))];
  const operands = terms.flatMap((term, index): Operand[] => {
    const carrier = scope.input(node, index);
    const isPlain = /^[A-Za-z]*$/.test(term) && new Set(term).size === term.length && carrier?.dims.length === term.length;
    return carrier && isPlain ? [{ carrier, places: [...term].map((letter) => letters.indexOf(letter)) }] : [];
  });
  if (output === undefined || operands.length !== terms.length || terms.length !== node.inputs.length) {
    scope.barrier(node, `${titleOf(node)} has an equation that is not followed`);
    return;
  }
  const summed = letters.map((_, place) => place).filter((place) => !output.includes(letters[place] ?? ''));
  produce(scope, operands, summed);
  let tracks = join(scope, node, letters.length, operands);
  mark(scope, node, operands, { summed, output, letters });
  for (const place of summed) tracks = contracted(scope, tracks, place);
  scope.set(
    node.outputs[0],
    inOrder(
      withoutSpaceAxes(tracks, summed),
      letters.filter((_, place) => !summed.includes(place)),
      output,
    ),
  );
};

/** Axes of a constant that no other operand has make new slots. */
function produce(scope: StructureScope, operands: readonly Operand[], summed: readonly number[]): void {
  for (const operand of operands) {
    if (!operand.carrier.constant) continue;
    for (const [axis, place] of operand.places.entries()) {
      const isShared = operands.some((other) => other !== operand && other.places.includes(place));
      if (place !== null && !summed.includes(place) && !isShared) scope.single(operand.carrier, axis);
    }
  }
}

interface Roles {
  readonly summed: readonly number[];
  readonly output: string;
  readonly letters: readonly string[];
}

function mark(scope: StructureScope, node: Node, operands: readonly Operand[], { summed, output, letters }: Roles): void {
  const [value] = node.outputs;
  for (const { carrier, places } of operands) {
    for (const track of scope.tracks(carrier)) {
      const place = places[track.axis] ?? 0;
      const axis = output.indexOf(letters[place] ?? '');
      if (summed.includes(place)) scope.mark({ node, role: 'consumer' }, track);
      else if (value && carrier.constant) scope.mark({ node, role: 'producer', output: { value, axis } }, track);
    }
  }
  const first = operands[0];
  for (const place of summed) {
    if (!first || operands.some(({ carrier, places }) => carrier.constant && places.includes(place))) continue;
    const index = operands.findIndex(({ places }) => places.includes(place));
    const axis = operands[index]?.places.indexOf(place) ?? -1;
    const carrier = operands[index]?.carrier;
    if (carrier && scope.tracks(carrier).some((track) => axesOf(track).includes(axis))) scope.contractions.push({ node, index, axis });
  }
}

/** From the order of first appearance to that of the output. */
function inOrder(tracks: readonly Track[], letters: readonly string[], output: string): Track[] {
  const places = letters.map((letter) => output.indexOf(letter));
  return tracks.map((track) => placedTrack(track, places, output.length));
}
