/** Error codes: one total table from code to HTTP status, title and whether a retry can help; AppError carries them. */

/** Every code a client can see, as `code` in problem+json or in `job.error.code`. Removing or renaming one breaks clients. */
export const errorTable = {
  // Requests
  request_invalid: { status: 400, title: 'The request is not valid', retryable: false },
  unauthenticated: { status: 401, title: 'No valid API key', retryable: false },
  insufficient_scope: { status: 403, title: 'The API key lacks a scope', retryable: false },
  not_found: { status: 404, title: 'Not found', retryable: false },
  method_not_allowed: { status: 405, title: 'Method not allowed', retryable: false },
  not_acceptable: { status: 406, title: 'No acceptable representation', retryable: false },
  conflict: { status: 409, title: 'The resource is in use', retryable: false },
  job_already_terminal: { status: 409, title: 'The job has ended', retryable: false },
  job_not_terminal: { status: 409, title: 'The job has not ended', retryable: false },
  idempotency_in_flight: { status: 409, title: 'The first request with this key is still running', retryable: true },
  idempotency_mismatch: { status: 422, title: 'The idempotency key was used with another request', retryable: false },
  gone: { status: 410, title: 'The resource was removed', retryable: false },
  length_required: { status: 411, title: 'Content-Length is required', retryable: false },
  precondition_failed: { status: 412, title: 'The resource has changed', retryable: false },
  payload_too_large: { status: 413, title: 'The payload is too large', retryable: false },
  unsupported_media_type: { status: 415, title: 'Unsupported media type', retryable: false },
  range_not_satisfiable: { status: 416, title: 'Range not satisfiable', retryable: false },
  digest_mismatch: { status: 422, title: 'The bytes do not have the declared digest', retryable: false },
  archive_invalid: { status: 422, title: 'The archive cannot be used', retryable: false },
  upload_incomplete: { status: 400, title: 'The upload ended early', retryable: true },
  quota_exceeded: { status: 429, title: 'Quota exceeded', retryable: true },
  queue_unavailable: { status: 503, title: 'The queue cannot be reached', retryable: true },
  database_unavailable: { status: 503, title: 'The database cannot be reached', retryable: true },
  overloaded: { status: 503, title: 'The service is overloaded', retryable: true },
  storage_full: { status: 507, title: 'The storage is full', retryable: true },
  egress_refused: { status: 422, title: 'The address may not be called', retryable: false },
  internal: { status: 500, title: 'Unexpected error', retryable: true },
  // Models, data sets, recipes: found at upload, at job creation or in the job
  model_invalid: { status: 422, title: 'Not a valid ONNX model', retryable: false },
  model_unsupported: { status: 422, title: 'The model cannot be handled', retryable: false },
  opset_unsupported: { status: 422, title: 'The operator set is not supported', retryable: false },
  external_data_missing: { status: 422, title: 'External data is missing', retryable: false },
  external_data_invalid: { status: 422, title: 'External data cannot be used', retryable: false },
  dataset_invalid: { status: 422, title: 'The data set cannot be used', retryable: false },
  recipe_invalid: { status: 422, title: 'The recipe cannot be applied', retryable: false },
  // How jobs fail
  runtime_failed: { status: 422, title: 'The runtime refused the model', retryable: false },
  quality_gate_failed: { status: 422, title: 'The quality gate was missed', retryable: false },
  out_of_memory: { status: 422, title: 'The job ran out of memory', retryable: false },
  worker_crashed: { status: 422, title: 'The model crashed the runtime', retryable: false },
  timeout: { status: 422, title: 'The job took too long', retryable: false },
  deadline_exceeded: { status: 422, title: 'The deadline passed before the job started', retryable: false },
  canceled: { status: 409, title: 'The job was canceled', retryable: false },
} as const satisfies Record<string, { status: number; title: string; retryable: boolean }>;

export type ErrorCode = keyof typeof errorTable;

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}

/** One fault inside a request: `pointer` is a JSON pointer into the body (RFC 6901), or 'query/…', 'header/…'. */
export interface FieldError {
  readonly pointer: string;
  readonly code: string;
  readonly detail: string;
}

export interface AppErrorOptions {
  /** For the log only; never sent to a client. */
  readonly context?: Readonly<Record<string, unknown>>;
  readonly errors?: readonly FieldError[];
  /** Sent as response headers, e.g. Retry-After. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** An expected failure: `message` is the public sentence, `options.context` the private one. Anything else thrown is a bug (500). */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly context: Readonly<Record<string, unknown>>;
  readonly errors: readonly FieldError[];
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    readonly code: ErrorCode,
    message: string,
    options: AppErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.context = options.context ?? {};
    this.errors = options.errors ?? [];
    this.headers = options.headers ?? {};
  }

  get status(): number {
    return errorTable[this.code].status;
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable;
  }
}
