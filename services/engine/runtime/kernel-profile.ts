/** Time of every kernel of one or several models on this machine, from the profiler of the runtime, in turns. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Model, Tensor } from '../ir/index.js';
import { type KernelTime, type ProfileOptions, type SessionOptions, timedConfig } from './execution-session.js';

/** A session that can be run on bound feeds, and whose profile lies on disk once it is closed. */
interface ProfiledSession {
  prepare(feeds: ReadonlyMap<string, Tensor>): () => Promise<void>;
  close(): Promise<void>;
}

const RUNS_MIN = 4;
const RUNS_MAX = 60;
/** First runs meet cold caches. */
const RUNS_SKIPPED = 1;

/** Kernel times in the order of `models`. `open` opens with a profile prefix. Throws what opening and running throw. */
export async function profileKernels(
  open: (model: string | Model, options: SessionOptions) => Promise<ProfiledSession>,
  { models, feeds, scratch }: { models: readonly (string | Model)[]; feeds: ReadonlyMap<string, Tensor>; scratch: string },
  options: ProfileOptions,
): Promise<readonly (readonly KernelTime[])[]> {
  const folder = join(scratch, `profile-${randomUUID()}`);
  await mkdir(folder, { recursive: true });
  const sessions: ProfiledSession[] = [];
  try {
    for (const [index, model] of models.entries())
      sessions.push(await open(model, { config: timedConfig, profilePrefix: join(folder, `${index}-`) }));
    await takeTurns(
      sessions.map((session) => session.prepare(feeds)),
      options,
    );
    for (const session of sessions) await session.close();
    const files = await readdir(folder);
    return await Promise.all(
      models.map((_, index) =>
        readProfile(
          folder,
          files.find((file) => file.startsWith(`${index}-`)),
        ),
      ),
    );
  } finally {
    for (const session of sessions) await session.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function takeTurns(runs: readonly (() => Promise<void>)[], { budgetMs, signal }: ProfileOptions): Promise<void> {
  const end = performance.now() + budgetMs;
  for (let round = 0; round < RUNS_MIN || (round < RUNS_MAX && performance.now() < end); round += 1) {
    for (const run of runs) {
      signal.throwIfAborted();
      await run();
    }
  }
}

async function readProfile(folder: string, file: string | undefined): Promise<KernelTime[]> {
  if (!file) return [];
  const events: unknown = JSON.parse(await readFile(join(folder, file), 'utf8'));
  const durations = new Map<string, { opType: string; times: number[] }>();
  for (const event of Array.isArray(events) ? events : []) {
    const kernel = kernelEvent(event);
    if (!kernel) continue;
    const known = durations.get(kernel.node) ?? { opType: kernel.opType, times: [] };
    durations.set(kernel.node, known);
    known.times.push(kernel.microseconds);
  }
  return [...durations].map(([node, { opType, times }]) => ({ node, opType, microseconds: Math.min(...times.slice(RUNS_SKIPPED)) }));
}

const KERNEL_SUFFIX = '_kernel_time';

/** Events look like { cat: 'Node', name: 'conv1_kernel_time', dur: 12, args: { op_name: 'Conv' } }. */
function kernelEvent(event: unknown): { node: string; opType: string; microseconds: number } | null {
  if (typeof event !== 'object' || event === null || !('name' in event && 'dur' in event && 'args' in event)) return null;
  const { name, dur, args } = event;
  if (typeof name !== 'string' || !name.endsWith(KERNEL_SUFFIX) || typeof dur !== 'number') return null;
  const opType = typeof args === 'object' && args !== null && 'op_name' in args ? String(args.op_name) : '';
  return { node: name.slice(0, -KERNEL_SUFFIX.length), opType, microseconds: dur };
}
