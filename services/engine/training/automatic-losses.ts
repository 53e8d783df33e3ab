/** The loss that an output asks for, told by what makes it and by the labels. */
import { isFloating, type Model, type Tensor, type Value } from '../ir/index.js';
import type { LossTerm } from './loss-terms.js';

export interface LossFacts {
  readonly model: Model;
  /** Labels of some samples, when the data set has them. */
  readonly labels?: Tensor;
  readonly hasTeacher: boolean;
  readonly task?: 'classification' | 'regression';
}

type OutputKind = 'classes' | 'shares' | 'values';

/** Of each floating output with a teacher, of the first with labels. */
export function automaticLosses(facts: LossFacts): LossTerm[] {
  const outputs = [...facts.model.graph.outputs.entries()].filter(([, value]) => isFloatOutput(value));
  if (!facts.hasTeacher) {
    const [first] = outputs;
    return first ? [labelLoss(kindOf(first[1], facts), first[0])] : [];
  }
  return outputs.map(([output, value]) => teacherLoss(kindOf(value, facts), output));
}

const isFloatOutput = ({ type }: Value): boolean => type?.kind !== 'tensor' || type.dataType === null || isFloating(type.dataType);

/** A final Softmax or whole numbers as labels make classes, a final Sigmoid shares; scores without either count as values. */
function kindOf({ producer }: Value, { labels, task }: LossFacts): OutputKind {
  if (producer?.opType === 'Softmax' || producer?.opType === 'LogSoftmax') return 'classes';
  if (producer?.opType === 'Sigmoid') return 'shares';
  if (task !== undefined) return task === 'classification' ? 'classes' : 'values';
  return labels && !isFloating(labels.dataType) ? 'classes' : 'values';
}

function labelLoss(kind: OutputKind, output: number): LossTerm {
  const losses = { classes: 'cross-entropy', shares: 'binary-cross-entropy', values: 'mse' } as const;
  return { kind: losses[kind], output };
}

function teacherLoss(kind: OutputKind, output: number): LossTerm {
  const losses = { classes: 'kd', shares: 'teacher-probabilities', values: 'teacher-values' } as const;
  return { kind: losses[kind], output };
}
