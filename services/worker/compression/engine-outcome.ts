/** How the process of a job ended, as facts; what follows from it is failure-policy.ts. */

export interface EngineFinished {
  readonly kind: 'finished';
  readonly gatePassed: boolean;
  readonly modelFiles: readonly string[];
  readonly reportPath: string;
  readonly htmlReportPath: string;
  readonly missed: readonly Readonly<Record<string, unknown>>[];
}

export type EngineOutcome =
  | EngineFinished
  /** The engine said no: an error code of its own and a sentence for the customer. */
  | { readonly kind: 'refused'; readonly code: string; readonly message: string; readonly details: Readonly<Record<string, unknown>> }
  /** The process died without being told to. */
  | { readonly kind: 'crashed'; readonly signal: string | null; readonly exitCode: number | null; readonly stderrTail: string }
  | { readonly kind: 'out_of_memory'; readonly limitBytes: number; readonly residentBytes: number | null; readonly stderrTail: string }
  | { readonly kind: 'timed_out'; readonly limitMs: number }
  /** It was told to stop and did. */
  | { readonly kind: 'stopped' };

export interface ProcessExit {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stderrTail: string;
}

/** V8 aborts (SIGABRT, 134) when its heap is full and says so; a failed native allocation ends in std::bad_alloc and SIGABRT. */
const heapMessages = /JavaScript heap out of memory|std::bad_alloc|Cannot allocate memory|ERR_WORKER_OUT_OF_MEMORY/;

export function classifyExit({ exitCode, signal, stderrTail }: ProcessExit, limitBytes: number): EngineOutcome {
  if (heapMessages.test(stderrTail)) return { kind: 'out_of_memory', limitBytes, residentBytes: null, stderrTail };
  return { kind: 'crashed', signal, exitCode, stderrTail };
}
