/** Runs the chosen sections on the chosen models, in a folder that is kept when it was named; lines, tables and verdicts at the end. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { chosen } from './chosen.js';
import type { Subject } from './subjects.js';
import { Workbench, type WorkbenchOptions } from './workbench.js';

export interface SectionsRequest {
  readonly sections: Readonly<Record<string, (bench: Workbench) => Promise<void>>>;
  /** Comma-separated. */
  readonly wanted: string;
  /** Those whose files are there can be chosen. */
  readonly subjects: readonly Subject[];
  /** Comma-separated; default all. */
  readonly only: string | undefined;
  /** Default: a temporary one. */
  readonly folder: string | undefined;
  /** What else the workbench needs, given its folder. */
  options(folder: string): Omit<WorkbenchOptions, 'subjects' | 'folder'>;
  report(lines: Workbench['lines'], verdicts: Workbench['verdicts']): string;
  /** What else the last line tells. */
  readonly about?: object;
}

export async function runSections({ sections, wanted, subjects, only, report, about, ...request }: SectionsRequest): Promise<void> {
  const present = subjects.filter(({ modelPath }) => existsSync(modelPath));
  const folder = request.folder ? resolve(request.folder) : mkdtempSync(join(tmpdir(), 'lathe-bench-'));
  try {
    const bench = new Workbench({
      subjects: chosen('model', only, new Map(present.map((subject) => [subject.name as string, subject]))),
      folder,
      ...request.options(folder),
    });
    const picked = new Set(chosen('section', wanted, new Map(Object.entries(sections))));
    for (const section of Object.values(sections)) if (picked.has(section)) await section(bench);
    bench.tell({ verdicts: bench.verdicts, environment: bench.environment, ...about });
    const tables = report(bench.lines, bench.verdicts);
    writeFileSync(join(folder, 'tables.md'), `${tables}\n`);
    writeFileSync(join(folder, 'results.json'), `${JSON.stringify(bench.lines, null, 1)}\n`);
    process.stderr.write(`\n${tables}\n`);
  } finally {
    rmSync(join(folder, 'scratch'), { recursive: true, force: true });
    if (!request.folder) rmSync(folder, { recursive: true, force: true });
  }
}
