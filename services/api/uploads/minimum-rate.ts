/** Ends an upload that trickles: a sender slower than 10 kB/s over a whole minute would hold a connection for ever. */
import type { Readable } from 'node:stream';
import { AppError } from '#contracts';

const windowMs = 60_000;
const bytesPerWindowMin = 600_000;

/** Returns what stops the watch. `bytesRead` is the connection's count. */
export function requireMinimumRate(source: Readable, bytesRead: () => number): () => void {
  let before = bytesRead();
  const timer = setInterval(() => {
    const now = bytesRead();
    if (now - before < bytesPerWindowMin)
      source.destroy(new AppError('upload_incomplete', 'The upload was too slow: under 10 kB/s for a minute.'));
    before = now;
  }, windowMs);
  timer.unref();
  return () => clearInterval(timer);
}
