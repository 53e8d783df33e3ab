/** The reference tool (onnxruntime.quantization) through ../shared/reference/quantize_static.py, a fresh process per artifact. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ProcessCost, runMeasured } from './measured-process.js';
import { dataFolder, type Subject } from './subjects.js';

/** Options of the tool: 'default' its own; 'minmax' u8/s8 per channel; 'rr' with 7-bit weights; 'u8u8'. */
export type ReferenceMethod = 'default' | 'minmax' | 'rr' | 'u8u8' | 'entropy' | 'percentile';
export const rivals: readonly ReferenceMethod[] = ['default', 'minmax', 'rr', 'u8u8'];

/** What the script says of itself; `total` begins after the interpreter has started. */
interface ScriptReport {
  readonly imports: number;
  readonly pre: number;
  readonly quant: number;
  readonly total: number;
  readonly rss_mb: number;
  readonly size: number;
}

export interface ReferenceRun extends ProcessCost {
  readonly method: ReferenceMethod;
  readonly samples: number;
  readonly path: string;
  readonly report: ScriptReport;
}

export interface ReferenceTool {
  readonly python: string;
  /** Artifacts and figures are kept here and used again. */
  readonly folder: string;
}

/** Undefined, with a line on standard error, when the tool fails on this model. */
export async function quantizeWithReference(
  { python, folder }: ReferenceTool,
  subject: Subject,
  { method, samples }: { readonly method: ReferenceMethod; readonly samples: number },
): Promise<ReferenceRun | undefined> {
  const out = join(folder, `n${samples}`);
  const path = join(out, `${subject.name}.${method}.onnx`);
  const record = join(out, `${subject.name}.${method}.json`);
  if (existsSync(record) && existsSync(path)) return { ...(JSON.parse(readFileSync(record, 'utf8')) as ReferenceRun), path };
  mkdirSync(out, { recursive: true });
  const script = join(dataFolder, '../reference/quantize_static.py');
  const result = await runMeasured(python, [script, subject.name, String(samples), method, out], { DATA: `${dataFolder}/` });
  const line = result.stdout.trim().split('\n').at(-1) ?? '';
  if (result.code !== 0 || !line.startsWith('{')) {
    process.stderr.write(`reference ${subject.name} ${method}: failed (${result.code})\n${result.stderr.slice(-800)}\n`);
    return undefined;
  }
  const { wall_s, cpu_s, peak_mb } = result;
  const run: ReferenceRun = { method, samples, path, report: JSON.parse(line) as ScriptReport, wall_s, cpu_s, peak_mb };
  writeFileSync(record, `${JSON.stringify(run, null, 2)}\n`);
  return run;
}
