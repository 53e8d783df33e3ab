/** Logs: one JSON object a line for machines, or one readable line for people; secrets never appear in either. */
import { type DestinationStream, type Logger, pino, stdSerializers, stdTimeFunctions } from 'pino';

export type { Logger } from 'pino';

export interface LoggerOptions {
  /** The process: 'api', 'worker', ... */
  readonly name: string;
  readonly level: string;
  readonly format: 'auto' | 'json' | 'text';
  /** Default: standard output. */
  readonly destination?: DestinationStream;
}

/** Everything that may hold a credential, at the top and one or two levels down. */
const secretKeys = [
  'authorization',
  'cookie',
  'secret',
  'secrets',
  'password',
  'api_key',
  'apiKey',
  'firstApiKey',
  'databaseUrl',
  'redisUrl',
  'webhook_url',
  'webhookUrl',
];
const redactedPaths = [
  ...secretKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]),
  ...['headers', 'req.headers', '*.req.headers'].map((at) => `${at}["x-api-key"]`),
];

/** Levels of pino: 10 trace, 20 debug, 30 info, 40 warn, 50 error, 60 fatal. */
export function createLogger({ name, level, format, destination }: LoggerOptions): Logger {
  const text = resolveLogFormat(format) === 'text';
  const output = destination ?? pino.destination({ dest: 1, sync: true });
  return pino(
    {
      name,
      level,
      base: { name, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: redactedPaths, censor: '[redacted]' },
      serializers: { err: stdSerializers.errWithCause, error: stdSerializers.errWithCause },
    },
    text ? { write: (line: string) => output.write(toText(line)) } : output,
  );
}

/** 'auto' is text on a terminal. */
export function resolveLogFormat(format: LoggerOptions['format']): 'json' | 'text' {
  if (format === 'auto') return process.stdout.isTTY ? 'text' : 'json';
  return format;
}

/** `05:12:31 INFO  api      message key=value`, and the stack of an error below it. */
function toText(line: string): string {
  const { time, level, name, msg, err, pid, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(rest).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const head = [String(time).slice(11, 19), String(level).toUpperCase().padEnd(5), String(name).padEnd(8), msg, ...fields].filter(
    (part) => part !== undefined && part !== '',
  );
  const stack = typeof err === 'object' && err !== null && 'stack' in err ? `\n${String(err.stack)}` : '';
  return `${head.join(' ')}${stack}\n`;
}
