/** After the engine ran: its files become content-addressed blobs, its report becomes the result of the job. Safe to repeat. */
import { lstat, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { NewArtifact } from '#platform/db';
import type { EngineFinished } from './engine-outcome.js';

/** The part of the blob store that jobs write to. */
export interface OutputBlobs {
  putFile(tenantId: string, source: string): Promise<{ readonly sha256: string; readonly bytes: number }>;
  /** Undefined when it is not there. */
  stat(tenantId: string, sha256: string): Promise<{ readonly bytes: number } | undefined>;
}

export interface JobOutputs {
  readonly artifacts: readonly NewArtifact[];
  readonly result: Readonly<Record<string, unknown>>;
  /** Under the lock of the contents: stores again what was found in the store before and swept away since. */
  ensureStored(): Promise<void>;
}

const reportBytesMax = 64 * 1024 * 1024;

/** What a rejected model is called, so that nobody takes it for a good one; external data keeps the name that the model knows it by. */
const rejectedModelName = 'rejected-model.onnx';

/** `rejected`: the artifact missed its gate. It is kept all the same, as the best there is, under a role and a name that say so. */
export async function storeOutputs(
  blobs: OutputBlobs,
  finished: EngineFinished,
  options: { tenantId: string; outDir: string; rejected: boolean },
): Promise<JobOutputs> {
  const { tenantId, outDir, rejected } = options;
  const put = async (file: string, role: NewArtifact['role'], mediaType: string): Promise<NewArtifact> => {
    await requirePlainFile(file, outDir);
    const { sha256, bytes } = await blobs.putFile(tenantId, file);
    const name = role === 'rejected_model' ? rejectedModelName : path.relative(outDir, file);
    return { name, role, mediaType, sha256, bytes };
  };
  const result = summarise(await readReport(finished.reportPath, outDir));
  const stored = new Map<string, NewArtifact>();
  for (const { file, role, mediaType } of filesOf(finished, rejected)) stored.set(file, await put(file, role, mediaType));
  return {
    artifacts: [...stored.values()],
    result,
    ensureStored: async () => {
      for (const [file, { name, role, mediaType, sha256 }] of stored) {
        if ((await blobs.stat(tenantId, sha256)) !== undefined) continue;
        const again = await put(file, role, mediaType);
        if (again.sha256 !== sha256) throw new Error(`The engine's file ${name} changed after it was stored`);
      }
    },
  };
}

interface OutputFile {
  readonly file: string;
  readonly role: NewArtifact['role'];
  readonly mediaType: string;
}

function filesOf({ modelFiles, reportPath, htmlReportPath }: EngineFinished, rejected: boolean): OutputFile[] {
  const models = modelFiles.map((file, index): OutputFile => {
    const role = index > 0 ? 'external_data' : rejected ? 'rejected_model' : 'model';
    return { file, role, mediaType: 'application/octet-stream' };
  });
  return [
    ...models,
    { file: reportPath, role: 'report', mediaType: 'application/json' },
    { file: htmlReportPath, role: 'report_html', mediaType: 'text/html; charset=utf-8' },
  ];
}

/** The process that named these files may have been taken over by a model: no links, nothing from elsewhere. */
async function requirePlainFile(file: string, outDir: string): Promise<void> {
  if (!path.resolve(file).startsWith(`${path.resolve(outDir)}${path.sep}`))
    throw new Error(`The engine named a file outside its folder: ${file}`);
  if (!(await lstat(file)).isFile()) throw new Error(`The engine named something that is no plain file: ${file}`);
}

async function readReport(file: string, outDir: string): Promise<Record<string, unknown>> {
  await requirePlainFile(file, outDir);
  if ((await lstat(file)).size > reportBytesMax) throw new Error('The report is too large');
  const report: unknown = JSON.parse(await readFile(file, 'utf8'));
  if (typeof report !== 'object' || report === null) throw new Error('The report is not a JSON object');
  return report as Record<string, unknown>;
}

/** The figures that decide, out of a report whose nodes and environment can run to megabytes. */
const resultFields = ['schema_version', 'source', 'artifact', 'size_ratio', 'speedup', 'fidelity', 'gate', 'warnings'] as const;

function summarise(report: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(resultFields.filter((field) => report[field] !== undefined).map((field) => [field, report[field]]));
}
