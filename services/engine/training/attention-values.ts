/** Where a network attends: the probabilities of its attentions, and the values that they weigh. */
import type { Node, Value } from '../ir/index.js';
import type { LayerPair, MappedNetwork } from './layer-mapping.js';

export type AttentionPart = 'probabilities' | 'values';

/** What hands probabilities on as they are. */
const carriers: ReadonlySet<string> = new Set(['Identity', 'Dropout', 'Cast']);

/** The last attention of both networks, as in MiniLM (Wang et al. 2020); none where one has no Softmax in front of a product of two signals. */
export function lastAttentions(student: MappedNetwork, teacher: MappedNetwork, part: AttentionPart): LayerPair[] {
  const [own, other] = [lastAttention(student, part), lastAttention(teacher, part)];
  return own && other ? [{ student: own.name, teacher: other.name }] : [];
}

function lastAttention({ graph, shapes }: MappedNetwork, part: AttentionPart): Value | undefined {
  for (const node of [...graph.nodes].reverse()) {
    const found = attentionOf(node)?.[part];
    if (found && shapes.has(found.name)) return found;
  }
  return undefined;
}

function attentionOf({ opType, domain, inputs: [left, right] }: Node): Readonly<Record<AttentionPart, Value>> | undefined {
  if (opType !== 'MatMul' || domain !== '' || !left || !right?.producer || right.producer.opType === 'Constant') return undefined;
  let probabilities: Value | null = left;
  while (probabilities?.producer && carriers.has(probabilities.producer.opType)) probabilities = probabilities.producer.inputs[0] ?? null;
  return probabilities?.producer?.opType === 'Softmax' ? { probabilities, values: right } : undefined;
}
