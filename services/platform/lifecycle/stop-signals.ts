/** The signals that ask a process to end: once means finish what you have begun, again means now. */

export const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
type StopSignal = (typeof stopSignals)[number];

/** Ctrl-C under `npm start` comes from the terminal and again from npm; that is one request. */
const SAME_REQUEST_MS = 1_000;

interface StopSignalHandlers {
  readonly first: (signal: StopSignal) => void;
  readonly again: (signal: StopSignal) => void;
  /** Signals that reach this process only because they reach everybody: another process decides. */
  readonly ignored?: readonly StopSignal[];
}

export function onStopSignals({ first, again, ignored = [] }: StopSignalHandlers): void {
  let firstAt: number | undefined;
  for (const signal of stopSignals) {
    process.on(signal, () => {
      if (ignored.includes(signal)) return;
      const now = performance.now();
      if (firstAt === undefined) {
        firstAt = now;
        first(signal);
      } else if (now - firstAt > SAME_REQUEST_MS) again(signal);
    });
  }
}
