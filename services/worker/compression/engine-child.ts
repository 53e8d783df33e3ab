/** One process for one job: started ahead of time, given the job once, watched, ended by escalation. */
import { type ChildProcess, fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import type { ProcessExit } from './engine-outcome.js';
import { type ChildMessage, type ParentMessage, parseChildMessage } from './engine-protocol.js';

export interface EngineChildOptions {
  /** Module that the process runs: engine-process. */
  readonly entry: string;
  readonly execArgv: readonly string[];
  /** Resident memory above which the process is ended; its JavaScript heap gets a share of it. */
  readonly memoryBytes: number;
  /** The whole environment of the process: no credentials. */
  readonly environment: Readonly<Record<string, string>>;
}

/** The rest is for weights, the runtime and V8 itself. A heap that grows beyond ends with a message that classifyExit knows. */
const heapShare = 0.75;
const stderrTailChars = 8 * 1024;
const niceness = 10;

export class EngineChild {
  readonly exited: Promise<ProcessExit>;
  private readonly process: ChildProcess;
  private stderrTail = '';
  private listener: ((message: ChildMessage) => void) | undefined;
  private readonly ready: Promise<void>;
  private gone = false;

  constructor({ entry, execArgv, memoryBytes, environment }: EngineChildOptions) {
    const heapMebibytes = Math.floor((memoryBytes * heapShare) / 1024 / 1024);
    // Its own process group, so that a kill reaches whatever it starts; its own stdout goes nowhere.
    const child = fork(entry, [], {
      execArgv: [...execArgv, `--max-old-space-size=${heapMebibytes}`],
      env: environment,
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'json',
    });
    this.process = child;
    if (child.pid !== undefined) yieldProcessor(child.pid);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderrTail = (this.stderrTail + text).slice(-stderrTailChars);
    });
    let announce: () => void = () => undefined;
    this.ready = new Promise((resolve) => {
      announce = resolve;
    });
    child.on('message', (raw) => {
      const message = parseChildMessage(raw);
      if (message?.type === 'ready') announce();
      else if (message !== null) this.listener?.(message);
    });
    this.exited = new Promise((resolve) => {
      // 'close' comes after stderr was read to its end; 'error' instead of both when it could not even start.
      child.on('error', (error) => {
        if (child.pid === undefined) resolve({ exitCode: null, signal: null, stderrTail: error.message });
      });
      child.on('close', (exitCode, signal) => resolve({ exitCode, signal, stderrTail: this.stderrTail }));
    });
    this.exited.then(() => {
      this.gone = true;
    });
  }

  get pid(): number | undefined {
    return this.process.pid;
  }

  get alive(): boolean {
    return !this.gone && this.process.exitCode === null && this.process.signalCode === null;
  }

  /** Resolves when a job would start at once, or when the process is gone. */
  async settled(): Promise<void> {
    await Promise.race([this.ready, this.exited]);
  }

  onMessage(listener: (message: ChildMessage) => void): void {
    this.listener = listener;
  }

  send(message: ParentMessage): void {
    // A closed channel means that the process is gone: `exited` tells.
    if (this.process.connected) this.process.send(message, () => undefined);
  }

  /** To the whole group. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    if (this.process.pid === undefined || this.gone) return;
    try {
      process.kill(-this.process.pid, signal);
    } catch {
      // Gone already.
    }
  }

  /** Message, then after `graceMs` SIGTERM, then after as long again SIGKILL. Resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    this.send({ type: 'stop' });
    const term = setTimeout(() => this.kill('SIGTERM'), graceMs);
    const kill = setTimeout(() => this.kill('SIGKILL'), graceMs + Math.min(graceMs, sigtermGraceMaxMs));
    await this.exited;
    clearTimeout(term);
    clearTimeout(kill);
  }
}
const sigtermGraceMaxMs = 5_000;

/** The API and the database stay quick while a process loads the engine and computes. */
function yieldProcessor(pid: number): void {
  try {
    setPriority(pid, niceness);
    // A session of its own is a scheduling group of its own, and niceness counts inside a group only (sched(7), autogroup).
    if (process.platform === 'linux') writeFileSync(`/proc/${pid}/autogroup`, String(niceness));
  } catch {
    // Not permitted here, no such feature, or gone already: only a courtesy.
  }
}
