/** What all sections share: the models chosen, artifacts made once, the machine, where lines and verdicts go. */
import { mkdirSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import type { Environment } from '../../services/engine/index.js';
import { describeEnvironment } from '../../services/engine/pipeline/environment.js';
import { describeCpu } from '../../services/engine/runtime/cpu.js';
import { createOrtRuntime, type OrtRuntime } from '../../services/engine/runtime/ort-session.js';
import { compressAlone, type OurRun } from './our-tool.js';
import { quantizeWithReference, type ReferenceMethod, type ReferenceRun, type ReferenceTool } from './reference-tool.js';
import { calibrationFile } from './sample-files.js';
import type { Subject } from './subjects.js';
import { type Bound, judge, type Verdict } from './thresholds.js';

export interface WorkbenchOptions {
  readonly subjects: readonly Subject[];
  /** Preset or file. */
  readonly recipe: string;
  /** Samples, artifacts and records; kept. */
  readonly folder: string;
  readonly reference?: ReferenceTool;
}

export const THREADS = 2;

export class Workbench {
  readonly runtime: OrtRuntime;
  readonly environment: Environment;
  readonly verdicts: Verdict[] = [];
  readonly lines: Readonly<Record<string, unknown>>[] = [];
  private readonly ours = new Map<string, Promise<OurRun>>();

  constructor(private readonly options: WorkbenchOptions) {
    const scratch = join(options.folder, 'scratch');
    mkdirSync(scratch, { recursive: true });
    this.runtime = createOrtRuntime({ scratch, threads: THREADS });
    this.environment = describeEnvironment(describeCpu(), this.runtime);
  }

  get subjects(): readonly Subject[] {
    return this.options.subjects;
  }

  get folder(): string {
    return this.options.folder;
  }

  get hasReference(): boolean {
    return this.options.reference !== undefined;
  }

  calibration(subject: Subject, samples: number): Promise<string> {
    return calibrationFile(subject, samples, join(this.folder, 'samples'));
  }

  /** With the recipe under test, once per subject and number of samples. Rejects when it fails. */
  artifact(subject: Subject, samples = subject.calibrationSamples): Promise<OurRun> {
    const key = `${subject.name}-${samples}`;
    const present = this.ours.get(key);
    if (present) return present;
    const made = this.compress(subject, { recipe: this.options.recipe, samples, name: key });
    this.ours.set(key, made);
    return made;
  }

  async compress(subject: Subject, { recipe, samples, name }: { recipe: string | object; samples: number; name: string }): Promise<OurRun> {
    const calibration = await this.calibration(subject, samples);
    return compressAlone({ modelPath: subject.modelPath, recipe, calibration, outDir: join(this.folder, 'artifacts', name) });
  }

  /** Undefined without a reference tool, or when it fails on this model. */
  async rival(subject: Subject, method: ReferenceMethod, samples = subject.calibrationSamples): Promise<ReferenceRun | undefined> {
    return this.options.reference && quantizeWithReference(this.options.reference, subject, { method, samples });
  }

  /** One line of JSON, with the processor and how busy it is. */
  tell(line: Readonly<Record<string, unknown>>): void {
    const { cpu, isa } = this.environment;
    const told = { ...line, cpu: `${cpu} ${isa}`, load: Math.round((loadavg()[0] ?? 0) * 10) / 10 };
    this.lines.push(told);
    process.stdout.write(`${JSON.stringify(told)}\n`);
  }

  judge(subject: string, figure: string, { measured, bound }: { readonly measured: number | null; readonly bound: Bound }): void {
    this.verdicts.push(judge({ subject, figure, measured }, bound, this.environment));
  }
}

/** A failure is a line of the result, not the end of the benchmark. */
export async function attempt<T>(
  bench: Workbench,
  what: Readonly<Record<string, unknown>>,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    bench.tell({ ...what, failed: error instanceof Error ? error.message : String(error) });
    return undefined;
  }
}
