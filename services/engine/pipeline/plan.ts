/** What the engine executes: an ordered list of methods with their options, a gate and a target. The wire schema has the same structure. */
import { type AcceleratorProfile, shippedProfile } from '../accelerators/index.js';
import type { ActivationCompressionOptions } from '../activation-compression/index.js';
import type { DistributionAwareOptions } from '../distribution-aware/index.js';
import { EngineError } from '../engine-errors.js';
import type { ImageOptions } from '../evaluation/image-quality.js';
import type { LowRankOptions } from '../low-rank/index.js';
import { learningMethods, type Objective, type Target } from '../method.js';
import type { CrossLayerScalingOptions, PrecisionLoweringOptions } from '../precision/index.js';
import type { LayerDroppingOptions, StructuredPruningOptions } from '../pruning/index.js';
import type { QatOptions } from '../qat/index.js';
import type {
  Float16Options,
  MixedPrecisionOptions,
  RepairQdqOptions,
  StaticInt8Options,
  WeightOnlyOptions,
} from '../quantization/index.js';
import type { SparsityOptions } from '../sparsity/index.js';
import { type DistillOptions, readsLabels, type TrainingOptions } from '../training/index.js';

export interface CleanUpStep {
  readonly method: 'clean-up';
}

export interface DynamicInt8Step {
  readonly method: 'dynamic-int8';
  /** One scale per output column instead of one per weight tensor. */
  readonly per_channel?: boolean;
  readonly op_types?: readonly ('MatMul' | 'Gemm' | 'LSTM' | 'Gather')[];
  /** Node names; '*' stands for any characters. */
  readonly exclude?: readonly string[];
  readonly embeddings?: boolean;
}

export interface Float16StorageStep {
  readonly method: 'float16-storage';
  readonly exclude?: readonly string[];
  readonly min_elements?: number;
}

export interface StaticInt8Step extends StaticInt8Options {
  readonly method: 'static-int8';
}

export interface WeightOnlyStep extends WeightOnlyOptions {
  readonly method: 'weight-only';
}

export interface Float16Step extends Float16Options {
  readonly method: 'float16';
}

export interface MixedPrecisionStep extends MixedPrecisionOptions {
  readonly method: 'mixed-precision';
}

export interface RepairQdqStep extends RepairQdqOptions {
  readonly method: 'repair-qdq';
}

export interface SparsityStep extends SparsityOptions {
  readonly method: 'sparsity';
}

export interface LowRankStep extends LowRankOptions {
  readonly method: 'low-rank';
}

export interface StructuredPruningStep extends StructuredPruningOptions {
  readonly method: 'structured-pruning';
}

export interface LayerDroppingStep extends LayerDroppingOptions {
  readonly method: 'layer-dropping';
}

export interface TrainStep extends TrainingOptions {
  readonly method: 'train';
}

export interface FineTuneStep extends TrainingOptions {
  readonly method: 'fine-tune';
}

export interface DistillStep extends DistillOptions {
  readonly method: 'distill';
}

export interface QatStep extends QatOptions {
  readonly method: 'qat';
}

export interface ActivationCompressionStep extends ActivationCompressionOptions {
  readonly method: 'activation-compression';
}

export interface DistributionAwareStep extends DistributionAwareOptions {
  readonly method: 'distribution-aware';
}

export interface CrossLayerScalingStep extends CrossLayerScalingOptions {
  readonly method: 'cross-layer-scaling';
}

export interface PrecisionLoweringStep extends PrecisionLoweringOptions {
  readonly method: 'precision-lowering';
}

export type CompressionStep =
  | CleanUpStep
  | LowRankStep
  | DynamicInt8Step
  | StaticInt8Step
  | WeightOnlyStep
  | MixedPrecisionStep
  | Float16StorageStep
  | Float16Step
  | RepairQdqStep
  | SparsityStep
  | StructuredPruningStep
  | LayerDroppingStep
  | TrainStep
  | FineTuneStep
  | DistillStep
  | QatStep
  | ActivationCompressionStep
  | DistributionAwareStep
  | CrossLayerScalingStep
  | PrecisionLoweringStep;
export type MethodName = CompressionStep['method'];

export type MetricName = 'top1' | 'top5' | 'mse' | 'mae' | 'psnr' | 'ssim' | 'mape' | 'smape' | 'mase';

/** The artifact is refused when one of the bounds is missed. */
export interface QualityGate {
  /** Default: top1 for class labels, mse for others. */
  readonly metric?: MetricName;
  /** Largest loss of the metric, absolute; needs labels. */
  readonly max_metric_drop?: number;
  /** Time of the source over that of the artifact, in turns. */
  readonly min_speedup?: number;
  /** Source bytes over artifact bytes. */
  readonly min_size_ratio?: number;
  readonly min_sqnr_db?: number;
}

/** How artifacts are judged beside what labels ask for by themselves. */
export interface EvaluationPlan {
  /** Labels are pictures: PSNR and SSIM. A gate on one of them asks for both, with the defaults. */
  readonly image?: ImageOptions;
}

/** How pictures are compared; undefined when the plan asks for no such metric. */
export function imageOptionsOf({ evaluation, gate }: Pick<CompressionPlan, 'evaluation' | 'gate'>): ImageOptions | undefined {
  return evaluation?.image ?? (gate?.metric === 'psnr' || gate?.metric === 'ssim' ? {} : undefined);
}

/** An embedded accelerator: one of the shipped profiles by name, or a profile. */
export interface AcceleratorTarget {
  readonly accelerator: string | AcceleratorProfile;
}

export interface CompressionPlan {
  readonly steps: readonly CompressionStep[];
  readonly gate?: QualityGate;
  readonly evaluation?: EvaluationPlan;
  /** Default 'x64'. */
  readonly target?: Target | AcceleratorTarget;
  /** Default 'latency'; 'size' for an accelerator, whose times this machine does not have. */
  readonly objective?: Objective;
}

/** The accelerator that a plan names; undefined for a CPU. Throws EngineError `recipe_invalid` for a name that is none. */
export function acceleratorOf({ target }: Pick<CompressionPlan, 'target'>): AcceleratorProfile | undefined {
  if (target === undefined || typeof target === 'string') return undefined;
  return typeof target.accelerator === 'string' ? shippedProfile(target.accelerator) : target.accelerator;
}

/** The processor whose arithmetic artifacts are made for. */
export function processorOf({ target }: Pick<CompressionPlan, 'target'>): Target {
  return typeof target === 'string' ? target : 'x64';
}

export function objectiveOf(plan: Pick<CompressionPlan, 'target' | 'objective'>): Objective {
  return plan.objective ?? (acceleratorOf(plan) ? 'size' : 'latency');
}

/**
 * The steps as they will run: clean-up first, unless the plan says where; behind the steps that learn when the plan begins with
 * those, as clean-up folds the normalizations that they train. Throws EngineError `recipe_invalid`.
 */
export function stepsToRun(plan: CompressionPlan): readonly CompressionStep[] {
  if (plan.steps.length === 0) throw new EngineError('recipe_invalid', 'The recipe has no steps.');
  refuseUnjudged(plan);
  const first = plan.steps.findIndex(({ method }) => !learningMethods.has(method));
  const begin = first < 0 ? plan.steps.length : first;
  if (plan.steps[begin]?.method === 'clean-up') return plan.steps;
  return [...plan.steps.slice(0, begin), { method: 'clean-up' }, ...plan.steps.slice(begin)];
}

/** Labels lead away from the float network: compared with it instead of by a metric, everything that was trained would be dropped. */
function refuseUnjudged({ steps, gate }: CompressionPlan): void {
  if (gate?.max_metric_drop !== undefined) return;
  const losses = steps.flatMap((step) => (step.method === 'precision-lowering' ? (step.recovery?.losses ?? []) : []));
  const term = losses.find(({ kind }) => readsLabels[kind]);
  if (!term) return;
  throw new EngineError(
    'recipe_invalid',
    `The "recovery" of precision-lowering learns from labels ('${term.kind}'), and no metric judges what it learns: add "gate": {"max_metric_drop": ...} with labelled evaluation samples, or leave "losses" out to learn from the float network.`,
  );
}
