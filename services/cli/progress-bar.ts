/** The progress bar: one line on standard error, drawn only on a terminal. */
import type { WriteStream } from 'node:tty';

const WIDTH = 28;
/** What a long message leaves of it. */
const WIDTH_MIN = 6;
const REDRAW_MS = 80;

export interface ProgressBar {
  /** `fraction` 0 to 1 of the whole work; seconds that are probably left, where they are known. */
  update(fraction: number, message: string, secondsLeft?: number | null): void;
  /** Wipes the line. */
  end(): void;
}

type Terminal = Pick<WriteStream, 'write'> & { readonly isTTY?: boolean; readonly columns?: number };

export function progressBar(stream: Terminal = process.stderr): ProgressBar {
  if (!stream.isTTY) return { update: () => undefined, end: () => undefined };
  let drawnAt = Number.NEGATIVE_INFINITY;
  return {
    update(fraction, message, secondsLeft = null) {
      const now = performance.now();
      if (now - drawnAt < REDRAW_MS && fraction < 1) return;
      drawnAt = now;
      const columns = (stream.columns ?? 80) - 1;
      stream.write(`\r\x1b[2K${line(Math.min(1, Math.max(0, fraction)), withTime(message, secondsLeft), columns)}`);
    },
    end: () => void stream.write('\r\x1b[2K'),
  };
}

function line(share: number, text: string, columns: number): string {
  const percent = ` ${String(Math.floor(share * 100)).padStart(3)} %  `;
  const width = Math.min(WIDTH, Math.max(WIDTH_MIN, columns - percent.length - text.length));
  const filled = Math.round(share * width);
  return `${'█'.repeat(filled)}${'░'.repeat(width - filled)}${percent}${text}`.slice(0, columns);
}

function withTime(message: string, secondsLeft: number | null): string {
  return secondsLeft === null || secondsLeft < 1 ? message : `${message}, ${duration(secondsLeft)} left`;
}

/** "40 s", "12 min", "3.5 h". */
function duration(seconds: number): string {
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const minutes = seconds / 60;
  return minutes < 99.5 ? `${Math.round(minutes)} min` : `${(minutes / 60).toFixed(1)} h`;
}
