/** Runs each job in a fresh process with limits on memory and time, and keeps the next process standing by. */
import { EngineChild, type EngineChildOptions } from './engine-child.js';
import { classifyExit, type EngineOutcome } from './engine-outcome.js';
import type { ChildMessage, RunMessage } from './engine-protocol.js';
import { residentBytes } from './resident-memory.js';

export interface EngineHostOptions extends EngineChildOptions {
  /** Processes at work at the same time. */
  readonly concurrency: number;
  /** Time between the polite request to stop and SIGTERM, in milliseconds. */
  readonly stopGraceMs: number;
}

export interface EngineProgress {
  readonly phase: string;
  /** 0 to 1. */
  readonly fraction: number;
  readonly message: string;
  readonly etaSeconds: number | null;
}

export interface EngineRun {
  readonly job: Omit<RunMessage, 'type'>;
  readonly timeoutMs: number;
  /** Aborting it asks the process to stop. */
  readonly signal: AbortSignal;
  readonly onProgress: (progress: EngineProgress) => void;
}

const memoryCheckMs = 200;
/** A child that dies before it was ready is not replaced in a tight loop. */
const standbyRetryMs = 1_000;

export class EngineHost {
  private standby: EngineChild | undefined;
  private retry: NodeJS.Timeout | undefined;
  private readonly running = new Set<EngineChild>();
  private closed = false;

  constructor(private readonly options: EngineHostOptions) {}

  /** Resolves when a process stands by. */
  async start(): Promise<void> {
    this.refill();
    await this.standby?.settled();
  }

  /** Never throws; resolves when the process is gone. */
  async run(run: EngineRun): Promise<EngineOutcome> {
    const child = this.take();
    this.running.add(child);
    try {
      return await supervise(child, run, this.options);
    } finally {
      child.kill('SIGKILL'); // Grandchildren, if it had any.
      this.running.delete(child);
      this.refill();
    }
  }

  /** Kills what runs. */
  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.retry);
    const children = [...this.running, ...(this.standby === undefined ? [] : [this.standby])];
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(children.map((child) => child.exited));
  }

  private take(): EngineChild {
    const { standby } = this;
    this.standby = undefined;
    return standby?.alive ? standby : new EngineChild(this.options);
  }

  /** Not while every slot is at work: starting a process would disturb the latency that a job measures. */
  private refill(): void {
    if (this.closed || this.standby !== undefined || this.running.size >= this.options.concurrency) return;
    const child = new EngineChild(this.options);
    this.standby = child;
    child.exited.then(() => {
      if (this.standby !== child) return;
      this.standby = undefined;
      if (!this.closed) this.retry = setTimeout(() => this.refill(), standbyRetryMs);
    });
  }
}

async function supervise(child: EngineChild, run: EngineRun, { memoryBytes, stopGraceMs }: EngineHostOptions): Promise<EngineOutcome> {
  let outcome: EngineOutcome | undefined;
  const timers: NodeJS.Timeout[] = [];
  /** The first ending counts: what a dying process still says changes nothing. */
  const conclude = (ending: EngineOutcome, end: () => void) => {
    if (outcome !== undefined) return;
    outcome = ending;
    end();
  };
  child.onMessage((message) => {
    if (message.type === 'progress') run.onProgress(message);
    // It leaves by itself; a native library that hangs while it unloads must not keep the slot.
    else if (message.type !== 'ready') conclude(outcomeOf(message), () => timers.push(setTimeout(() => child.kill('SIGKILL'), leaveMs)));
  });
  const timeOut = () => conclude({ kind: 'timed_out', limitMs: run.timeoutMs }, () => void child.stop(Math.min(stopGraceMs, leaveMs)));
  const checkMemory = () => {
    const resident = child.pid === undefined ? null : residentBytes(child.pid);
    if (resident === null || resident <= memoryBytes) return;
    conclude({ kind: 'out_of_memory', limitBytes: memoryBytes, residentBytes: resident, stderrTail: '' }, () => child.kill('SIGKILL'));
  };
  const stop = () => conclude({ kind: 'stopped' }, () => void child.stop(stopGraceMs));
  timers.push(setTimeout(timeOut, run.timeoutMs), setInterval(checkMemory, memoryCheckMs));
  run.signal.addEventListener('abort', stop, { once: true });
  await child.settled();
  if (run.signal.aborted) stop();
  else child.send({ type: 'run', ...run.job });
  const exit = await child.exited;
  for (const timer of timers) clearTimeout(timer);
  run.signal.removeEventListener('abort', stop);
  return outcome ?? classifyExit(exit, memoryBytes);
}
const leaveMs = 1_000;

function outcomeOf(message: Exclude<ChildMessage, { type: 'ready' | 'progress' }>): EngineOutcome {
  if (message.type === 'refused') return { kind: 'refused', code: message.code, message: message.message, details: message.details };
  const { gatePassed, modelFiles, reportPath, htmlReportPath, missed } = message;
  return { kind: 'finished', gatePassed, modelFiles, reportPath, htmlReportPath, missed };
}
