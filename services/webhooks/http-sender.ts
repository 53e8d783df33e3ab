/** One bounded POST: timed, never redirected, the response read only as far as it may be stored. */
import { type Dispatcher, request } from 'undici';
import { AppError } from '#contracts';
import { parseRetryAfter } from './retry-schedule.js';

/** Why no response came. Owners of endpoints read it in the delivery log. */
export type SendErrorClass = 'egress_refused' | 'timeout' | 'dns' | 'connect' | 'tls' | 'protocol';

export interface SendResult {
  readonly startedAt: Date;
  readonly durationMs: number;
  /** Null when no response came; then `error` says why. */
  readonly status: number | null;
  /** The first 4 KiB. */
  readonly body: string | null;
  readonly error: SendErrorClass | null;
  readonly retryAfterMs: number | null;
}

export interface Sending {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface HttpSender {
  /** Never throws: a failure is a result. */
  send(sending: Sending): Promise<SendResult>;
}

const storedBytesMax = 4 * 1024;
/** Read on for a while, so that a receiver can finish its answer; then the socket is closed. */
const readBytesMax = 64 * 1024;

export function createHttpSender({ dispatcher, timeoutMs }: { dispatcher: Dispatcher; timeoutMs: number }): HttpSender {
  return {
    send: async ({ url, headers, body }) => {
      const startedAt = new Date();
      const started = performance.now();
      const elapsed = () => Math.round(performance.now() - started);
      const signal = AbortSignal.timeout(timeoutMs);
      try {
        const response = await request(url, { method: 'POST', headers, body, dispatcher, signal });
        const stored = await readStart(response.body);
        const retryAfter = response.headers['retry-after'];
        const retryAfterMs = parseRetryAfter(Array.isArray(retryAfter) ? retryAfter[0] : retryAfter, Date.now());
        return { startedAt, durationMs: elapsed(), status: response.statusCode, body: stored, error: null, retryAfterMs };
      } catch (error) {
        return { startedAt, durationMs: elapsed(), status: null, body: null, error: classifySendError(error), retryAfterMs: null };
      }
    },
  };
}

/** The status has come, so the attempt is decided: a body that is slow, broken or endless only ends the reading. */
async function readStart(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body) {
      chunks.push(chunk as Buffer);
      bytes += (chunk as Buffer).length;
      if (bytes >= readBytesMax) break;
    }
  } catch {
    // Cut off by the receiver or by the time limit: what came is kept.
  }
  // Postgres text holds no NUL.
  return Buffer.concat(chunks).subarray(0, storedBytesMax).toString('utf8').replaceAll('\u0000', '\uFFFD');
}

const classByCode: Readonly<Record<string, SendErrorClass>> = {
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  ECONNREFUSED: 'connect',
  ECONNRESET: 'connect',
  EHOSTUNREACH: 'connect',
  ENETUNREACH: 'connect',
  ETIMEDOUT: 'timeout',
  UND_ERR_SOCKET: 'connect',
};

export function classifySendError(error: unknown): SendErrorClass {
  if (!(error instanceof Error)) return 'protocol';
  if (error instanceof AppError && error.code === 'egress_refused') return 'egress_refused';
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return 'timeout';
  if (error instanceof AggregateError && error.errors.length > 0) return classifySendError(error.errors[0]);
  const code = 'code' in error ? String(error.code) : '';
  if (/^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|EPROTO)/.test(code)) return 'tls';
  return classByCode[code] ?? (error.cause instanceof Error ? classifySendError(error.cause) : 'protocol');
}
