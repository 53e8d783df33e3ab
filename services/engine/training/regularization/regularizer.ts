/** What a recipe may pull to zero while it trains, so that pruning finds it there. */
import { EngineError } from '../../engine-errors.js';
import type { Value } from '../../ir/index.js';
import type { MethodContext, RegularizerSummary, RemovableGroup } from '../../method.js';
import { groupLasso, growingDecay, slimming } from '../losses/penalties.js';
import type { Penalty } from '../objective.js';
import type { Parameter, TrainableModel } from '../trainable-model.js';
import type { ObjectiveScope } from '../training-graph.js';
import { type PenaltyGroup, type PenaltyPart, scalesAmong, structureGroups, unitSquares } from './penalty-groups.js';
import { withStoredParameters } from './stored-parameters.js';

export interface RegularizerChoice {
  /** Scales of BatchNormalizations, or all weights, of channels, features and heads that structured pruning could take out. */
  readonly kind: 'slimming' | 'group-lasso' | 'group-growing';
  /** What the penalty is multiplied with in the loss; for 'group-growing' at the end of the run. */
  readonly strength?: number;
}

const STRENGTHS: Readonly<Record<RegularizerChoice['kind'], number>> = { slimming: 1e-4, 'group-lasso': 1e-4, 'group-growing': 1e-2 };

export interface RegularizerRequest {
  readonly trainable: TrainableModel;
  readonly isTrained: (parameter: Parameter) => boolean;
  readonly context: MethodContext;
}

export class Regularizer {
  private constructor(
    private readonly choice: Required<RegularizerChoice>,
    private readonly groups: readonly PenaltyGroup[],
  ) {}

  /** Throws EngineError `recipe_invalid` where there is nothing to pull to zero. */
  static of({ kind, strength = STRENGTHS[kind] }: RegularizerChoice, request: RegularizerRequest): Regularizer {
    const trained = new Map(request.trainable.parameters.filter(request.isTrained).map((each) => [each.name, each] as const));
    const pulled = kind === 'slimming' ? scalesAmong(request.trainable.model, trained) : trained;
    const groups = pulled.size > 0 ? structureGroups(structureOf(request), pulled) : [];
    if (groups.length === 0) throw nothingFor(kind);
    return new Regularizer({ kind, strength }, groups);
  }

  readonly penalty: Penalty = (scope, inputs) => {
    const { write } = scope;
    const { kind, strength } = this.choice;
    const penalties = this.groups.map((group) => this.ofGroup(scope, group));
    const sum = write.node('Mul', [write.node('Sum', penalties), write.float(strength)]);
    if (kind !== 'group-growing') return sum;
    const share = scope.input('regularizer/share', []);
    inputs.share = share.name;
    return write.node('Mul', [sum, share]);
  };

  /** `weights`: by parameter, after training. */
  summary(weights: ReadonlyMap<string, Float32Array>): RegularizerSummary {
    const squares = this.groups.map((group) => unitSquares(group, ({ name, values }) => weights.get(name) ?? values));
    const isNone = (square: number, own: Float64Array): boolean => square < NEAR_ZERO ** 2 * Math.max(...own);
    return {
      ...this.choice,
      units: this.groups.reduce((sum, { units }) => sum + units, 0),
      near_zero: squares.reduce((sum, own) => sum + own.filter((square) => isNone(square, own)).length, 0),
    };
  }

  private ofGroup(scope: ObjectiveScope, group: PenaltyGroup): Value {
    const valueFor = ({ parameter }: PenaltyPart): Value => scope.parameterValue(parameter.name);
    switch (this.choice.kind) {
      case 'slimming':
        return slimming(scope.write, group, valueFor);
      case 'group-lasso':
        return groupLasso(scope.write, group, valueFor);
      case 'group-growing':
        return growingDecay(scope.write, group, { valueFor, importance: unitSquares(group, ({ values }) => values) });
    }
  }
}

/** Of the largest of a group. */
const NEAR_ZERO = 0.01;

function structureOf({ trainable, context: { removableGroups, calibration } }: RegularizerRequest): readonly RemovableGroup[] {
  if (!removableGroups) throw new EngineError('recipe_invalid', 'Nothing here tells which channels can go.');
  return removableGroups({ model: withStoredParameters(trainable), shapes: trainable.shapes, states: calibration?.states ?? [] });
}

function nothingFor(kind: RegularizerChoice['kind']): EngineError {
  const why =
    kind === 'slimming'
      ? `'slimming' pulls scales of BatchNormalizations to zero, and none is trained whose channels can go: "batch_normalization": "insert" puts some behind convolutions, and 'group-lasso' needs none`
      : `'${kind}' pulls whole channels to zero, and no trained ones were found that could be pruned`;
  return new EngineError('recipe_invalid', `${why}.`);
}
