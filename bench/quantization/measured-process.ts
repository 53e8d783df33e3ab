/** A child process with what it cost: wall time, processor time and the peak of the resident memory of its whole tree (Linux). */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProcessCost {
  readonly wall_s: number;
  /** User and system seconds of all processes of the tree, as last seen before each ended. */
  readonly cpu_s: number;
  /** Largest sum of resident memory over the tree in MB of 2^20 bytes, as the reference counts; at least the kernel's own peak of each process. */
  readonly peak_mb: number;
}

export interface ProcessResult extends ProcessCost {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const SAMPLE_MS = 20;
const TICKS_PER_SECOND = 100;

const readProc = (path: string): string | null => {
  try {
    return readFileSync(`/proc/${path}`, 'utf8');
  } catch {
    return null;
  }
};

function childrenOf(pid: number): readonly number[] {
  let threads: readonly string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
  return threads.flatMap((thread) => (readProc(`${pid}/task/${thread}/children`) ?? '').split(' ').filter(Boolean).map(Number));
}

/** Watches a tree of processes until it is gone. */
class TreeWatch {
  private peakKb = 0;
  private readonly ticks = new Map<number, number>();

  constructor(private readonly root: number) {}

  sample(): void {
    const family = [this.root];
    for (const member of family) family.push(...childrenOf(member));
    let residentKb = 0;
    for (const pid of family) {
      const status = readProc(`${pid}/status`);
      const stat = readProc(`${pid}/stat`);
      if (status === null || stat === null) continue;
      residentKb += field(status, 'VmRSS');
      this.peakKb = Math.max(this.peakKb, field(status, 'VmHWM'));
      // The name in brackets may hold spaces; user and system time are the 12th and 13th field after it.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      this.ticks.set(pid, Number(fields[11]) + Number(fields[12]));
    }
    this.peakKb = Math.max(this.peakKb, residentKb);
  }

  get cost(): Omit<ProcessCost, 'wall_s'> {
    const ticks = [...this.ticks.values()].reduce((sum, each) => sum + each, 0);
    return { cpu_s: ticks / TICKS_PER_SECOND, peak_mb: Math.round((this.peakKb / 1024) * 10) / 10 };
  }
}

function field(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
}

export async function runMeasured(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<ProcessResult> {
  const started = performance.now();
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  let ended: { readonly code: number | null; readonly wall_s: number } | undefined;
  const closed = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => {
      ended = { code, wall_s: Math.round(performance.now() - started) / 1000 };
    });
    child.on('close', () => resolve());
  });
  const watch = new TreeWatch(child.pid ?? -1);
  const watching = (async () => {
    while (!ended && child.pid !== undefined) {
      watch.sample();
      await sleep(SAMPLE_MS);
    }
  })();
  await closed;
  await watching;
  return { ...output, code: ended?.code ?? null, wall_s: ended?.wall_s ?? Number.NaN, ...watch.cost };
}
