/** One process under the supervisor: started, started again when it dies, and stopped with time to finish. */
import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { ProcessRole } from '../config/index.js';
import type { Logger } from '../observability/index.js';
import { isReadyMessage, type ReadyMessage, type StopMessage, SUPERVISED_FLAG } from './supervision-protocol.js';

const FIRST_BACKOFF_MS = 200;
const LONGEST_BACKOFF_MS = 10_000;
/** After this long without a crash the next one is the first again. */
const STABLE_AFTER_MS = 60_000;
/** A process that cannot even start once is not helped by more tries. */
const START_TRIES = 3;

export interface ManagedProcessOptions {
  readonly role: ProcessRole;
  /** Absolute path of its main.js (or main.ts, run with this process's own loader). */
  readonly main: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly logger: Logger;
}

export class ManagedProcess {
  private child: ChildProcess | undefined;
  private stopping = false;
  private crashes = 0;
  private wasReady = false;

  constructor(private readonly options: ManagedProcessOptions) {}

  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Resolves when it is ready for the first time; rejects when it does not get there. From then on it is kept alive. */
  start(): Promise<ReadyMessage> {
    return new Promise((resolve, reject) => this.launch(resolve, reject));
  }

  /** Asks it to finish, kills it after `graceMs`. Resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    this.stopping = true;
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const message: StopMessage = { type: 'stop' };
    if (child.connected) child.send(message, () => undefined);
    const timer = setTimeout(() => this.kill(), graceMs);
    await gone.finally(() => clearTimeout(timer));
  }

  kill(): void {
    this.stopping = true;
    this.child?.kill('SIGKILL');
  }

  private launch(onReady: (message: ReadyMessage) => void, onFailed: (error: Error) => void): void {
    const { role, main, environment, logger } = this.options;
    const startedAt = Date.now();
    const child = fork(main, [SUPERVISED_FLAG], { env: environment, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.child = child;
    child.on('message', (message) => {
      if (!isReadyMessage(message)) return;
      this.wasReady = true;
      onReady(message);
    });
    child.once('error', (err) => logger.error({ err, role }, 'process could not be started'));
    child.once('exit', (code, signal) => {
      if (this.stopping) return;
      if (Date.now() - startedAt > STABLE_AFTER_MS) this.crashes = 0;
      this.crashes += 1;
      if (!this.wasReady && this.crashes >= START_TRIES) {
        onFailed(new Error(`The ${role} process does not start (${code === null ? signal : `exit status ${code}`}); its log says why.`));
        return;
      }
      const waitMs = Math.min(FIRST_BACKOFF_MS * 2 ** (this.crashes - 1), LONGEST_BACKOFF_MS);
      logger.error({ role, code, signal, restart_in_ms: waitMs }, 'process died');
      void delay(waitMs).then(() => {
        if (!this.stopping) this.launch(onReady, onFailed);
      });
    });
  }
}
