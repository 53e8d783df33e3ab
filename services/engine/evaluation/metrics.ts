/** Task metrics against labels: top-1 and top-5 accuracy for class labels, squared and absolute error for others, PSNR and SSIM for pictures. */
import { EngineError } from '../engine-errors.js';
import { isFloating, type Tensor } from '../ir/index.js';
import type { SampleRun, SeriesFacts } from '../method.js';
import { classCount, elementsPerSample, type SampleRows } from './class-scores.js';
import { type ImageOptions, ImageQuality } from './image-quality.js';
import { pointForecast } from './point-forecast.js';
import { RunningSum } from './running-sum.js';
import { type HorizonMetrics, SeriesErrors, type SeriesMetrics } from './series-errors.js';
import { argmax, elementsOf } from './tensor-elements.js';

/** Only what the labels allow is present. Shares are 0 to 1. */
export interface Metrics extends SeriesMetrics {
  top1?: number;
  /** When there are at least ten classes. */
  top5?: number;
  mse?: number;
  mae?: number;
  /** Of pictures, when asked for: mean ratio in dB, and mean similarity where every picture holds an 11 x 11 window. */
  psnr?: number;
  ssim?: number;
  /** Of forecasts over windows: by step ahead. */
  horizons?: readonly HorizonMetrics[];
  /** Samples they were measured on. */
  samples: number;
}

const CLASSES_FOR_TOP5 = 10;

/** Feed it one model's outputs and the labels, run after run. One instance per model. */
export class MetricsAccumulator {
  private samples = 0;
  private readonly hits = { top1: 0, top5: 0, ofFive: false };
  private readonly squared = new RunningSum();
  private readonly absolute = new RunningSum();
  private elements = 0;
  private scored = false;
  private readonly pictures: ImageQuality | undefined;
  private readonly series: SeriesErrors | undefined;

  /** With `image`, labels that are floats are pictures; with `series`, forecasts. */
  constructor({ image, series }: { readonly image?: ImageOptions; readonly series?: SeriesFacts } = {}) {
    this.pictures = image ? new ImageQuality(image) : undefined;
    this.series = series ? new SeriesErrors(series) : undefined;
  }

  /** `labels` has one row per real sample. Throws EngineError `dataset_invalid` when no output fits them. */
  add(outputs: ReadonlyMap<string, Tensor>, labels: Tensor, rows: SampleRows & Pick<SampleRun, 'lastSeason'>): void {
    this.samples += rows.sampleCount;
    if (isFloating(labels.dataType)) this.addRegression(outputs, labels, rows);
    else this.addClassification(outputs, labels, rows);
  }

  private addClassification(outputs: ReadonlyMap<string, Tensor>, labels: Tensor, rows: SampleRows): void {
    this.scored = true;
    const classes = elementsOf(labels);
    if (classes.length !== rows.sampleCount) {
      throw new EngineError(
        'dataset_invalid',
        `Class labels must be one integer per sample; "labels" has shape [samples, ${labels.dims.slice(1).join(', ')}].`,
        { array: 'labels' },
      );
    }
    for (const output of outputs.values()) {
      const count = classCount(output, rows);
      if (count === null) continue;
      this.addScores(elementsOf(output), classes, count);
      return;
    }
    for (const output of outputs.values()) {
      if (output.dataType === 'string' || isFloating(output.dataType)) continue;
      const predicted = elementsOf(output);
      if (elementsPerSample(output, predicted.length, rows) !== 1) continue;
      for (let sample = 0; sample < rows.sampleCount; sample++) if (predicted[sample] === classes[sample]) this.hits.top1 += 1;
      return;
    }
    throw new EngineError(
      'dataset_invalid',
      `The labels are classes, but no output holds one score per class (or one class number) per sample; the outputs are ${describe(outputs)}.`,
      { array: 'labels' },
    );
  }

  private addScores(scores: ArrayLike<number>, labels: ArrayLike<number>, classes: number): void {
    this.hits.ofFive = classes >= CLASSES_FOR_TOP5;
    for (let sample = 0; sample < labels.length; sample++) {
      const label = labels[sample] ?? Number.NaN;
      if (!Number.isInteger(label) || label < 0 || label >= classes) {
        throw new EngineError('dataset_invalid', `Label ${label} is outside the model's classes 0 to ${classes - 1}.`, { array: 'labels' });
      }
      if (argmax(scores, sample * classes, classes) === label) this.hits.top1 += 1;
      if (rankOf(scores, sample * classes, { classes, label }) < 5) this.hits.top5 += 1;
    }
  }

  private addRegression(outputs: ReadonlyMap<string, Tensor>, labels: Tensor, rows: SampleRows & Pick<SampleRun, 'lastSeason'>): void {
    const expected = elementsOf(labels);
    const found = pointForecast(outputs.values(), labels, rows);
    if (!found) {
      throw new EngineError(
        'dataset_invalid',
        `No output has as many elements per sample as "labels" (${expected.length / rows.sampleCount}); the outputs are ${describe(outputs)}. Class labels must be integers.`,
        { array: 'labels' },
      );
    }
    const { output, actual } = found;
    for (let index = 0; index < expected.length; index++) {
      const error = (actual[index] ?? Number.NaN) - (expected[index] ?? Number.NaN);
      this.squared.add(error * error);
      this.absolute.add(Math.abs(error));
    }
    this.elements += expected.length;
    this.pictures?.add(output, { actual, expected, samples: rows.sampleCount });
    const { lastSeason, sampleCount } = rows;
    this.series?.add({ actual, expected, sampleCount, ...(lastSeason ? { lastSeason: elementsOf(lastSeason) } : {}) });
  }

  get result(): Metrics {
    if (this.scored) {
      return {
        top1: this.hits.top1 / this.samples,
        ...(this.hits.ofFive ? { top5: this.hits.top5 / this.samples } : {}),
        samples: this.samples,
      };
    }
    const horizons = this.series?.horizons ?? [];
    return {
      mse: this.squared.value / this.elements,
      mae: this.absolute.value / this.elements,
      ...this.pictures?.result,
      ...this.series?.result,
      ...(horizons.length > 0 ? { horizons } : {}),
      samples: this.samples,
    };
  }
}

/** How many classes score higher than `label`; ties count for the lower class number, as in argmax. NaN scores rank last. */
function rankOf(scores: ArrayLike<number>, start: number, { classes, label }: { classes: number; label: number }): number {
  const own = scores[start + label] ?? Number.NaN;
  if (Number.isNaN(own)) return classes;
  let higher = 0;
  for (let index = 0; index < classes; index++) {
    const score = scores[start + index] ?? Number.NaN;
    if (score > own || (score === own && index < label)) higher += 1;
  }
  return higher;
}

function describe(outputs: ReadonlyMap<string, Tensor>): string {
  return [...outputs].map(([name, { dataType, dims }]) => `${name} ${dataType}[${dims.join(', ')}]`).join(', ');
}
