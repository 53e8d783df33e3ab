/** Fidelity: how closely the artifact answers as the source does, over samples, for all outputs. */
import type { Tensor } from '../ir/index.js';
import { classCount, elementsPerSample, type SampleRows } from './class-scores.js';
import { type OutputFidelity, OutputFidelityAccumulator } from './output-fidelity.js';
import { argmax, elementsOf } from './tensor-elements.js';

export interface NamedOutputFidelity extends OutputFidelity {
  readonly name: string;
}

/** The headline numbers are the worst over the outputs; null where no output defines them. */
export interface FidelityResult {
  readonly sqnr_db: number | null;
  readonly cosine: number | null;
  readonly max_abs_error: number | null;
  /** Share of samples whose largest class score is at the same class; for integer outputs, share of equal elements. null when no output is one of these. */
  readonly top1_agreement: number | null;
  readonly samples: number;
  /** Where the samples came from. */
  readonly inputs: 'dataset' | 'generated';
  /** Elements that are finite in one model only. */
  readonly non_finite: number;
  readonly outputs: readonly NamedOutputFidelity[];
}

const floating: readonly string[] = ['float16', 'float32', 'float64'];

/** Feed it the outputs of both models for the same feeds, run after run. */
export class FidelityAccumulator {
  private readonly outputs = new Map<string, OutputFidelityAccumulator>();
  private samples = 0;
  private readonly agreement = { equal: 0, compared: 0 };

  add(reference: ReadonlyMap<string, Tensor>, artifact: ReadonlyMap<string, Tensor>, rows: SampleRows): void {
    this.samples += rows.sampleCount;
    let scored = false;
    for (const [name, expected] of reference) {
      const actual = artifact.get(name);
      if (!actual) throw new TypeError(`FidelityAccumulator: the artifact has no output ${name}`);
      if (expected.dataType === 'string') {
        scored = this.addStrings(expected, actual, scored);
      } else {
        scored = this.addNumbers(name, { expected, actual, rows, scored });
      }
    }
  }

  private addStrings(expected: Tensor, actual: Tensor, scored: boolean): boolean {
    if (scored) return true;
    for (const [index, text] of (expected.strings ?? []).entries()) {
      this.count(Buffer.from(text).equals(actual.strings?.[index] ?? new Uint8Array()));
    }
    return true;
  }

  private addNumbers(
    name: string,
    { expected, actual, rows, scored }: { expected: Tensor; actual: Tensor; rows: SampleRows; scored: boolean },
  ): boolean {
    const e = elementsOf(expected);
    const a = elementsOf(actual);
    const each = elementsPerSample(expected, e.length, rows);
    const counted = each === null ? e.length : each * (rows.rows === 1 ? 1 : rows.sampleCount);
    if (!floating.includes(expected.dataType)) {
      if (!scored) for (let index = 0; index < counted; index++) this.count(e[index] === a[index]);
      return true;
    }
    this.accumulator(name).add(e, a, counted);
    const classes = scored ? null : classCount(expected, rows);
    if (classes === null || each === null) return scored;
    for (let sample = 0; sample < rows.sampleCount; sample++)
      this.count(argmax(e, sample * each, classes) === argmax(a, sample * each, classes));
    return true;
  }

  private count(equal: boolean): void {
    this.agreement.compared += 1;
    if (equal) this.agreement.equal += 1;
  }

  private accumulator(name: string): OutputFidelityAccumulator {
    const present = this.outputs.get(name);
    if (present) return present;
    const created = new OutputFidelityAccumulator();
    this.outputs.set(name, created);
    return created;
  }

  result(inputs: FidelityResult['inputs']): FidelityResult {
    const outputs = [...this.outputs].map(([name, accumulator]) => ({ name, ...accumulator.result }));
    const worst = (values: readonly (number | null)[], choose: (...numbers: number[]) => number): number | null => {
      const known = values.filter((value) => value !== null);
      return known.length === 0 ? null : choose(...known);
    };
    return {
      sqnr_db: worst(
        outputs.map((output) => output.sqnr_db),
        Math.min,
      ),
      cosine: worst(
        outputs.map((output) => output.cosine),
        Math.min,
      ),
      max_abs_error: worst(
        outputs.map((output) => output.max_abs_error),
        Math.max,
      ),
      top1_agreement: this.agreement.compared === 0 ? null : this.agreement.equal / this.agreement.compared,
      samples: this.samples,
      inputs,
      non_finite: outputs.reduce((sum, output) => sum + output.non_finite, 0),
      outputs,
    };
  }
}
