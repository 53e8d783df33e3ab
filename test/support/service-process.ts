/** The whole service as `npm start` runs it, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { vi } from 'vitest';
import { builtService } from './built-service.js';

export interface LogLine {
  readonly name: string;
  readonly pid: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export class ServiceProcess {
  readonly log: LogLine[] = [];
  /** Standard error: the banner, or why there is none. */
  messages = '';
  readonly exited: Promise<number | null>;

  private constructor(readonly child: ChildProcess) {
    if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => this.log.push(JSON.parse(line)));
    child.stderr?.on('data', (chunk: Buffer) => {
      this.messages += chunk.toString('utf8');
    });
    this.exited = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  }

  /** `environment` replaces all LATHE_*, S3_* and connection variables of the test run. */
  static async spawn(environment: Record<string, string>): Promise<ServiceProcess> {
    const inherited = Object.entries(process.env).filter(([key]) => !/^(LATHE_|S3_|DATABASE_URL|REDIS_URL|NODE_OPTIONS|VITEST)/.test(key));
    const args = [await builtService('cli/main.js'), 'serve'];
    const env = { ...Object.fromEntries(inherited), LATHE_LOG_LEVEL: 'debug', ...environment };
    return new ServiceProcess(spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] }));
  }

  /** Resolves when the banner is out; rejects when the service ends instead. */
  async ready(timeout = 120_000): Promise<void> {
    const ended = this.exited.then((code) => {
      throw new Error(`The service ended with ${code}: ${this.messages}\n${JSON.stringify(this.log.slice(-5), null, 1)}`);
    });
    await Promise.race([ended, vi.waitUntil(() => this.messages.includes('Lathe is ready'), { timeout, interval: 50 })]);
  }

  /** Process ids that said they are ready, oldest first. */
  pidsOf(role: string): number[] {
    return this.log.filter(({ name, msg }) => name === role && msg === 'ready').map(({ pid }) => pid);
  }
}
