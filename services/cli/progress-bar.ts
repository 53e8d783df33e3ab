/** The progress bar: one line on standard error, drawn only on a terminal. */
import type { WriteStream } from 'node:tty';

const WIDTH = 28;
const REDRAW_MS = 80;

export interface ProgressBar {
  /** `fraction` 0 to 1 of the whole work. */
  update(fraction: number, message: string): void;
  /** Wipes the line. */
  end(): void;
}

type Terminal = Pick<WriteStream, 'write'> & { readonly isTTY?: boolean; readonly columns?: number };

export function progressBar(stream: Terminal = process.stderr): ProgressBar {
  if (!stream.isTTY) return { update: () => undefined, end: () => undefined };
  let drawnAt = Number.NEGATIVE_INFINITY;
  return {
    update(fraction, message) {
      const now = performance.now();
      if (now - drawnAt < REDRAW_MS && fraction < 1) return;
      drawnAt = now;
      const share = Math.min(1, Math.max(0, fraction));
      const filled = Math.round(share * WIDTH);
      const line = `${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)} ${String(Math.floor(share * 100)).padStart(3)} %  ${message}`;
      stream.write(`\r\x1b[2K${line.slice(0, (stream.columns ?? 80) - 1)}`);
    },
    end: () => void stream.write('\r\x1b[2K'),
  };
}
