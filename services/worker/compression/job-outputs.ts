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

/** `withModel` false keeps the report alone: an artifact that missed its gate is not handed out. */
export async function storeOutputs(
  blobs: OutputBlobs,
  finished: EngineFinished,
  options: { tenantId: string; outDir: string; withModel: boolean },
): Promise<JobOutputs> {
  const { tenantId, outDir, withModel } = options;
  const put = async (file: string, role: NewArtifact['role'], mediaType: string): Promise<NewArtifact> => {
    await requirePlainFile(file, outDir);
    const { sha256, bytes } = await blobs.putFile(tenantId, file);
    return { name: path.relative(outDir, file), role, mediaType, sha256, bytes };
  };
  const result = summarise(await readReport(finished.reportPath, outDir));
  const artifacts: NewArtifact[] = [];
  if (withModel) {
    for (const [index, file] of finished.modelFiles.entries()) {
      artifacts.push(await put(file, index === 0 ? 'model' : 'external_data', 'application/octet-stream'));
    }
  }
  artifacts.push(await put(finished.reportPath, 'report', 'application/json'));
  artifacts.push(await put(finished.htmlReportPath, 'report_html', 'text/html; charset=utf-8'));
  return {
    artifacts,
    result,
    ensureStored: async () => {
      for (const { name, role, mediaType, sha256 } of artifacts) {
        if ((await blobs.stat(tenantId, sha256)) !== undefined) continue;
        const again = await put(path.join(outDir, name), role, mediaType);
        if (again.sha256 !== sha256) throw new Error(`The engine's file ${name} changed after it was stored`);
      }
    },
  };
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
