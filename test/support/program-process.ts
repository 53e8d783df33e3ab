/** Starts a program of test/support/programs as a process that a test can kill, stop and continue. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { builtService } from './built-service.js';

/** The programs, and the part of the service that each of them starts. */
const parts = { worker: 'worker', 'training-worker': 'worker', webhooks: 'webhooks' } as const;

export class ProgramProcess {
  readonly exited: Promise<void>;

  private constructor(readonly child: ChildProcess) {
    this.exited = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  /** Resolves when it has printed `ready`. */
  static async start(program: keyof typeof parts, argument: unknown): Promise<ProgramProcess> {
    const file = fileURLToPath(new URL(`./programs/${program}.mjs`, import.meta.url));
    const deps = pathToFileURL(await builtService(`${parts[program]}/deps.js`)).href;
    const child = spawn(process.execPath, [file, deps, JSON.stringify(argument)], { stdio: ['ignore', 'pipe', 'inherit'] });
    const started = new ProgramProcess(child);
    const ready = new Promise<void>((resolve) => {
      createInterface({ input: child.stdout }).on('line', (line) => line === 'ready' && resolve());
    });
    await Promise.race([
      ready,
      started.exited.then(() => {
        throw new Error(`${program} ended before it was ready`);
      }),
    ]);
    return started;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.child.kill(signal);
    await this.exited;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
}
