/** The feeds of each step: samples in a seeded order, augmented, with their targets and the answers of the teacher. */
import { EngineError } from '../engine-errors.js';
import { float32Tensor, float32Values, type Tensor } from '../ir/index.js';
import type { Augmentation } from './augmentation/augmentation.js';
import type { ObjectiveInputs } from './objective.js';
import { batchesPerEpoch, epochBatches } from './sample-order.js';
import { targetValues } from './targets.js';
import type { Teacher } from './teacher.js';
import type { TrainingData, TrainingRows } from './training-data.js';

export interface BatchOptions {
  readonly data: TrainingData;
  readonly batchSize: number;
  readonly seed: number;
  readonly inputs: ObjectiveInputs;
  readonly augmentation?: Augmentation;
  readonly teacher?: Teacher;
  /** Of the whole run. */
  readonly epochs: number;
}

export interface TrainingBatch {
  readonly feeds: ReadonlyMap<string, Tensor>;
  /** What the labels became, when the objective compares with labels. */
  readonly targets?: Float32Array;
}

export class TrainingBatches {
  readonly perEpoch: number;
  private order: { readonly epoch: number; readonly batches: readonly Uint32Array[] } | undefined;

  constructor(private readonly options: BatchOptions) {
    const { data, batchSize } = options;
    if (options.inputs.targets && !data.labelled)
      throw new EngineError('recipe_invalid', 'The loss compares with labels, and the data set has none: add an array "labels" or distil.');
    this.perEpoch = batchesPerEpoch({ sampleCount: data.sampleCount, batchSize });
  }

  /** Classes that the labels tell apart, when they are classes. */
  get classes(): number | undefined {
    const { targets } = this.options.inputs;
    return targets?.form === 'classes' ? targets.dims.at(-1) : undefined;
  }

  /** Batch `step` of the whole run, counted from 0: the same for every run with this seed. */
  async at(step: number): Promise<TrainingBatch> {
    const { data, inputs, teacher } = this.options;
    const epoch = Math.floor(step / this.perEpoch);
    const samples = this.batchesOf(epoch)[step % this.perEpoch] ?? new Uint32Array();
    const rows = await data.rows(samples);
    const plain = inputs.targets && rows.labels ? targetValues(rows.labels, inputs.targets) : undefined;
    const { feeds, targets } = this.augmented({ rows, samples, epoch, ...(plain ? { targets: plain } : {}) });
    const all = new Map(feeds);
    if (teacher) {
      const batch = this.options.augmentation ? { feeds } : { feeds, samples };
      for (const [name, answer] of await teacher.answers(batch)) all.set(inputs.teacher.get(name) ?? name, answer);
    }
    if (inputs.share) all.set(inputs.share, float32Tensor([], [(step + 1) / (this.options.epochs * this.perEpoch)]));
    if (inputs.targets && targets) all.set(inputs.targets.name, float32Tensor(inputs.targets.dims, targets));
    return { feeds: all, ...(targets ? { targets } : {}) };
  }

  private batchesOf(epoch: number): readonly Uint32Array[] {
    if (this.order?.epoch !== epoch) {
      const { data, batchSize, seed } = this.options;
      this.order = { epoch, batches: epochBatches({ seed, sampleCount: data.sampleCount, batchSize }, epoch) };
    }
    return this.order.batches;
  }

  /** The first float32 input is what is augmented. */
  private augmented({
    rows,
    samples,
    epoch,
    targets,
  }: {
    rows: TrainingRows;
    samples: Uint32Array;
    epoch: number;
    targets?: Float32Array;
  }): {
    feeds: ReadonlyMap<string, Tensor>;
    targets?: Float32Array;
  } {
    const { augmentation, inputs } = this.options;
    const found = [...rows.feeds].find(([, tensor]) => tensor.dataType === 'float32');
    if (!augmentation || !found) return { feeds: rows.feeds, ...(targets ? { targets } : {}) };
    const [name, tensor] = found;
    const targetDims = inputs.targets?.form === 'values' ? { targetDims: inputs.targets.dims } : {};
    const batch = { values: float32Values(tensor), dims: tensor.dims, samples, ...(targets ? { targets } : {}), ...targetDims };
    const result = augmentation.apply(batch, epoch);
    return {
      feeds: new Map([...rows.feeds, [name, float32Tensor(tensor.dims, result.values)]]),
      ...(result.targets ? { targets: result.targets } : {}),
    };
  }
}
