/** `lathe doctor`: why a quantized model is slow or answers differently, and the repair that is proved equal. */
import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Command } from 'commander';
import type { DiagnosedFinding, DiagnoseResult, MeasuredModel, ModelDiagnosis, RepairResult } from '#engine';
import { interruptible } from './interruption.js';
import { printResult } from './print-result.js';
import { progressBar } from './progress-bar.js';
import { requireFiles } from './required-files.js';
import { withScratch } from './scratch-folder.js';
import { formatMilliseconds, significant } from './text-table.js';

interface DoctorOptions {
  readonly fix?: string;
  readonly only?: string[];
  readonly data?: string;
  readonly json?: boolean;
}

/** Findings of one kind that are named one by one. */
const NODES_SHOWN = 4;

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('explain what keeps a quantized model of any tool from running fast and alike everywhere, and repair it')
    .argument('<model>', 'ONNX file')
    .option('--fix <file>', 'write a repaired model: what can be repaired exactly, proved on samples')
    .option('--only <kinds...>', 'repair these kinds only, those that are repaired on request included')
    .option('--data <file>', '.npz or .npy with samples to prove the repairs on; default: inputs made from the declared shapes')
    .option('--json', 'print one JSON document')
    .action(async (model: string, options: DoctorOptions) => printResult(await run(model, options), options, summary));
}

async function run(model: string, { fix, only, data }: DoctorOptions): Promise<DiagnoseResult> {
  await requireFiles(model, data);
  const { diagnose } = await import('#engine');
  if (fix !== undefined) await mkdir(dirname(resolve(fix)), { recursive: true });
  const bar = progressBar();
  try {
    return await interruptible((signal) =>
      withScratch((scratch) =>
        diagnose({
          modelPath: resolve(model),
          ...(fix === undefined ? {} : { fixPath: resolve(fix) }),
          ...(only === undefined ? {} : { only }),
          ...(data === undefined ? {} : { dataPath: resolve(data) }),
          scratch,
          signal,
          onProgress: (fraction, message) => bar.update(fraction, message),
        }),
      ),
    );
  } finally {
    bar.end();
  }
}

function summary({ repair, ...diagnosis }: DiagnoseResult): string {
  return [...diagnosisLines(diagnosis), ...(repair ? ['', ...repairLines(repair, diagnosis)] : [])].join('\n');
}

function diagnosisLines({ quantization, runtime, refusal, findings, unexplained, saturation }: ModelDiagnosis): string[] {
  const lines = [`quantized: ${quantization.format}`];
  if (refusal !== null) lines.push(`the runtime refuses the model: ${refusal}`);
  if (runtime) lines.push(`${runtime.name} computes ${runtime.integer} nodes on codes and leaves ${runtime.unfused.length} in float`);
  lines.push(saturation.sentence);
  for (const kind of new Set(findings.map((finding) => finding.kind))) {
    lines.push(
      '',
      ...kindLines(
        kind,
        findings.filter((finding) => finding.kind === kind),
      ),
    );
  }
  if (findings.length === 0) lines.push('Nothing to repair.');
  if (unexplained.length > 0) lines.push('', `left in float, and no rule says why: ${unexplained.join(', ')}`);
  return lines;
}

const repairabilities = { exact: 'repaired by --fix', 'on-request': 'repaired by --fix --only', no: 'not repairable' } as const;

function kindLines(kind: string, found: readonly DiagnosedFinding[]): string[] {
  const repairable = [...new Set(found.map((each) => repairabilities[each.repairable]))].join(', ');
  const lines = [`${kind} (${found.length}; ${repairable})`];
  for (const { node, op_type, sentence, instead, confirmed } of found.slice(0, NODES_SHOWN)) {
    const note = confirmed === false ? ' (This runtime fuses it all the same.)' : '';
    lines.push(`  ${op_type} ${node}: ${sentence}${note}`, `    -> ${instead}`);
  }
  if (found.length > NODES_SHOWN) lines.push(`  and ${found.length - NODES_SHOWN} more (--json names all)`);
  return lines;
}

function repairLines({ path, repaired, warnings, after, measured }: RepairResult, before: ModelDiagnosis): string[] {
  return [
    `repaired: ${repaired.length} repairs, written to ${path}`,
    `on codes: ${before.runtime?.integer ?? 0} nodes before, ${after.runtime?.integer ?? 0} after; ` +
      `left in float: ${before.runtime?.unfused.length ?? 0} before, ${after.runtime?.unfused.length ?? 0} after`,
    ...(measured ? measuredLines(measured.before, measured.after) : []),
    after.saturation.sentence,
    ...warnings.map((warning) => `warning: ${warning}`),
  ];
}

function measuredLines(before: MeasuredModel, after: MeasuredModel): string[] {
  const [slow, fast] = [before.latency.median_ms, after.latency.median_ms];
  return [
    `latency: ${formatMilliseconds(slow)} before, ${formatMilliseconds(fast)} after, ${significant(slow / fast)}x`,
    'largest difference between the fused answer of this processor and that of the file itself: ' +
      `${significant(before.fused_difference)} before, ${significant(after.fused_difference)} after`,
  ];
}
