/** What a student is trained for: a weighted sum of losses against labels and against a teacher. */

import { EngineError } from '../engine-errors.js';
import type { GraphWriter, Value } from '../ir/index.js';
import { hintLoss } from './hint-loss.js';
import type { HintTerm, LabelTerm, LossTerm, TeacherTerm } from './loss-terms.js';
import { binaryCrossEntropy, crossEntropy, decoupledDistillation, knowledgeDistillation } from './losses/class-losses.js';
import { frequencyError } from './losses/image-losses.js';
import { relationDistillation } from './losses/score-relations.js';
import { huber, meanAbsoluteError, meanSquaredError, pinball, relativeSquaredError } from './losses/value-losses.js';
import type { Objective, ObjectiveScope, SizedValue } from './training-graph.js';

/** Inputs of the training graph that a term reads, by what has to be fed. */
export interface ObjectiveInputs {
  /** Name of the input for the labels, and their form: one row of class shares per row of scores, or the values themselves. */
  targets?: { readonly name: string; readonly dims: readonly number[]; readonly form: 'classes' | 'values' };
  /** Name of the input by name of the teacher's value. */
  readonly teacher: Map<string, string>;
  /** Name of the input for the share of the run that is done. */
  share?: string;
}

/** What the loss counts beside its terms. */
export type Penalty = (scope: ObjectiveScope, inputs: ObjectiveInputs) => Value;

export interface TeacherShapes {
  /** Names of the teacher's outputs, in order. */
  readonly outputs: readonly string[];
  /** Sizes of its values for one batch. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

interface ComparedOutput {
  readonly output?: number | undefined;
  readonly border?: number | undefined;
}

const TEMPERATURE = 4;
/** Losses of scores before a final Softmax or Sigmoid. */
type ScoreKind = 'cross-entropy' | 'binary-cross-entropy' | 'kd' | 'dkd' | 'dist';

/** The objective, and what it turned out to need: `inputs` is filled when the objective is written. */
export function objectiveOf(
  terms: readonly LossTerm[],
  { teacher, penalty }: { readonly teacher?: TeacherShapes | undefined; readonly penalty?: Penalty | undefined } = {},
): { objective: Objective; inputs: ObjectiveInputs } {
  const inputs: ObjectiveInputs = { teacher: new Map() };
  const objective: Objective = (scope) => {
    const writer = new TermWriter(scope, inputs, teacher);
    const losses = terms.map((term) => scaled(scope.write, writer.loss(term), term.weight ?? 1));
    const [only] = losses;
    if (!only) throw new EngineError('recipe_invalid', 'The recipe names no loss.');
    if (penalty) losses.push(penalty(scope, inputs));
    return losses.length === 1 ? only : scope.write.node('Sum', losses);
  };
  return { objective, inputs };
}

const scaled = (write: GraphWriter, loss: Value, weight: number): Value =>
  weight === 1 ? loss : write.node('Mul', [loss, write.float(weight)]);

class TermWriter {
  private readonly write: GraphWriter;
  private readonly teacherInputs = new Map<string, Value>();
  private targetInput: Value | undefined;

  constructor(
    private readonly scope: ObjectiveScope,
    private readonly inputs: ObjectiveInputs,
    private readonly teacher: TeacherShapes | undefined,
  ) {
    this.write = scope.write;
  }

  loss(term: LossTerm): Value {
    const { write } = this;
    switch (term.kind) {
      case 'cross-entropy': {
        const scores = this.scores(term.output);
        return crossEntropy(write, scores, this.targets(scores.dims, 'classes'));
      }
      case 'binary-cross-entropy': {
        const { logits, dims } = this.logits(term.output);
        return binaryCrossEntropy(write, logits, this.targets(dims, 'values'));
      }
      case 'kd': {
        const { temperature = TEMPERATURE, standardize = false } = term;
        return knowledgeDistillation(write, this.scores(term.output), this.teacherScores(term.output), { temperature, standardize });
      }
      case 'dkd': {
        const { temperature = TEMPERATURE, alpha = 1, beta = 4 } = term;
        const scores = this.scores(term.output);
        const target = this.targets(scores.dims, 'classes');
        return decoupledDistillation(write, scores, { teacher: this.teacherScores(term.output), target }, { temperature, alpha, beta });
      }
      case 'dist': {
        const { temperature = 1, inter = 1, intra = 1 } = term;
        return relationDistillation(write, this.scores(term.output), this.teacherScores(term.output), { temperature, inter, intra });
      }
      default:
        return this.valueLoss(term);
    }
  }

  private valueLoss(term: Exclude<LabelTerm | TeacherTerm, { kind: ScoreKind }> | HintTerm): Value {
    const { write } = this;
    switch (term.kind) {
      case 'mse':
        return meanSquaredError(write, ...this.againstLabels(term));
      case 'mae':
        return meanAbsoluteError(write, ...this.againstLabels(term));
      case 'huber':
        return huber(write, ...this.againstLabels(term), term.delta ?? 1);
      case 'frequency':
        return frequencyError(write, this.scope.output(term.output ?? 0), this.againstLabels({ output: term.output })[1]);
      case 'quantile':
        return this.quantileLoss(term);
      case 'teacher-values':
        return relativeSquaredError(write, ...this.againstTeacher(term));
      case 'teacher-mae':
        return meanAbsoluteError(write, ...this.againstTeacher(term));
      case 'teacher-huber':
        return huber(write, ...this.againstTeacher(term), term.delta ?? 1);
      case 'teacher-frequency':
        return frequencyError(write, this.scope.output(term.output ?? 0), this.againstTeacher({ output: term.output })[1]);
      case 'teacher-probabilities': {
        const { logits } = this.logits(term.output);
        return binaryCrossEntropy(write, logits, this.againstTeacher({ output: term.output })[1]);
      }
      default:
        return this.featureLoss(term);
    }
  }

  /** Labels have no axis of quantiles. */
  private quantileLoss({ output = 0, quantiles }: Extract<LabelTerm, { kind: 'quantile' }>): Value {
    const { value, dims } = this.scope.output(output);
    if (quantiles.length === 1) return pinball(this.write, ...this.againstLabels({ output }), quantiles);
    if (dims.at(-1) !== quantiles.length) {
      throw new EngineError(
        'recipe_invalid',
        `'quantile' names ${quantiles.length} quantiles, and the last axis of output ${output} has ${dims.at(-1) ?? 1}: [${dims}].`,
      );
    }
    const each = dims.slice(0, -1);
    const labels = this.write.node('Reshape', [this.targets(each, 'values'), this.write.ints([...each, 1])]);
    return pinball(this.write, value, labels, quantiles);
  }

  private featureLoss(term: HintTerm): Value {
    const student = this.scope.value(term.student);
    if (!student) throw new EngineError('recipe_invalid', `The student computes no value "${term.student}".`, { value: term.student });
    const dims = this.teacher?.shapes.get(term.teacher);
    if (!dims) throw new EngineError('recipe_invalid', `The teacher computes no value "${term.teacher}".`, { value: term.teacher });
    return hintLoss(this.scope, term, { student, teacher: { value: this.teacherValue(term.teacher), dims } });
  }

  private againstLabels({ output = 0, border = 0 }: ComparedOutput): [Value, Value] {
    const { value, dims } = this.scope.output(output);
    const target = this.targets(dims, 'values');
    return [this.inner(value, dims, border), this.inner(target, dims, border)];
  }

  private againstTeacher({ output = 0, border = 0 }: ComparedOutput): [Value, Value] {
    const { value, dims } = this.scope.output(output);
    const name = this.teacherOutput(output);
    return [this.inner(value, dims, border), this.inner(this.teacherValue(name), this.teacher?.shapes.get(name) ?? dims, border)];
  }

  /** A picture without its edges. */
  private inner(value: Value, dims: readonly number[], border: number): Value {
    if (border === 0) return value;
    const [height = 0, width = 0] = dims.slice(-2);
    if (dims.length !== 4 || 2 * border >= Math.min(height, width)) {
      const words = `Losses leave out a border of pictures that are larger than it, [samples, channels, rows, columns]; the output is [${dims}].`;
      throw new EngineError('recipe_invalid', words);
    }
    const { write } = this;
    return write.node('Slice', [
      value,
      ...[write.ints([border, border]), write.ints([height - border, width - border]), write.ints([2, 3])],
    ]);
  }

  /** Class scores: the input of a final Softmax; anything else counts as scores itself (log softmax of logarithms changes nothing). */
  private scores(output = 0): { logits: Value; dims: readonly number[] } {
    return inputOf(this.scope.output(output), 'Softmax');
  }

  private logits(output = 0): { logits: Value; dims: readonly number[] } {
    return inputOf(this.scope.output(output), 'Sigmoid');
  }

  private teacherScores(output = 0): Value {
    const value = this.teacherValue(this.teacherOutput(output));
    const isProbability = this.scope.output(output).value.producer?.opType === 'Softmax';
    return isProbability ? this.write.node('Log', [this.write.node('Max', [value, this.write.float(1e-12)])]) : value;
  }

  private teacherOutput(index: number): string {
    const name = this.teacher?.outputs[index];
    if (name === undefined) throw new EngineError('recipe_invalid', `The teacher has no output ${index}.`);
    return name;
  }

  private teacherValue(name: string): Value {
    const known = this.teacherInputs.get(name);
    if (known) return known;
    const dims = this.teacher?.shapes.get(name);
    if (!dims) throw new EngineError('recipe_invalid', `The teacher computes no value "${name}".`, { value: name });
    const input = this.scope.input(`teacher/${name}`, dims);
    this.teacherInputs.set(name, input);
    this.inputs.teacher.set(name, input.name);
    return input;
  }

  private targets(dims: readonly number[], form: 'classes' | 'values'): Value {
    if (this.targetInput) return this.targetInput;
    this.targetInput = this.scope.input('targets', dims);
    this.inputs.targets = { name: this.targetInput.name, dims, form };
    return this.targetInput;
  }
}

function inputOf({ value, dims }: SizedValue, opType: string): { logits: Value; dims: readonly number[] } {
  const producer = value.producer;
  const input = producer?.opType === opType && producer.domain === '' ? producer.inputs[0] : undefined;
  return { logits: input ?? value, dims };
}
