/** Everything that goes wrong -> problem+json (RFC 9457): expected failures by their code, anything else as a bare 500. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { AppError, type ErrorCode, type ValidationError } from '#contracts';
import { problem } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';
import { fieldErrors } from '../http/validation-errors.js';

/** Fastify's and Node's own codes that are the client's doing. */
const frameworkCodes: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_BODY_TOO_LARGE: 'payload_too_large',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'upload_incomplete',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'request_invalid',
  FST_ERR_CTP_INVALID_JSON_BODY: 'request_invalid',
  FST_REQ_FILE_TOO_LARGE: 'payload_too_large',
  FST_FILES_LIMIT: 'request_invalid',
  FST_FIELDS_LIMIT: 'request_invalid',
  FST_PARTS_LIMIT: 'request_invalid',
  FST_INVALID_MULTIPART_CONTENT_TYPE: 'unsupported_media_type',
  FST_UNDER_PRESSURE: 'overloaded',
  ECONNRESET: 'upload_incomplete',
  ECONNABORTED: 'upload_incomplete',
  ERR_STREAM_PREMATURE_CLOSE: 'upload_incomplete',
  ENOSPC: 'storage_full',
  EDQUOT: 'storage_full',
};

/** Connection and pool errors of Prisma (P1xxx, P2024, P2028) and of the driver beneath it. */
const databaseCodes = /^(P1\d{3}|P2024|P2028|P2037|ECONNREFUSED|ENOTFOUND|ETIMEDOUT|EPIPE|57P0[1-3]|08\d{3}|53300)$/;

interface Failure {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly error: AppError | null;
}

/** Kinds of the driver adapter that mean "no connection", not "a bad statement". */
const unreachableKinds: ReadonlySet<unknown> = new Set(['DatabaseNotReachable', 'SocketTimeout', 'ConnectionClosed', 'TooManyConnections']);

interface FailureFacts {
  readonly name?: unknown;
  readonly code?: unknown;
  readonly kind?: unknown;
  /** FATAL and PANIC end the connection; ERROR is about the statement. */
  readonly severity?: unknown;
  readonly cause?: unknown;
  readonly meta?: { readonly driverAdapterError?: unknown };
}

/** `cause` chains are followed: Prisma wraps the adapter's error, which wraps the driver's, not all of them instances of Error. */
function isDatabaseFailure(error: unknown, depth = 0): boolean {
  if (typeof error !== 'object' || error === null || depth > 4) return false;
  const { name, code, kind, severity, cause, meta }: FailureFacts = error;
  if (name === 'PrismaClientInitializationError' || unreachableKinds.has(kind)) return true;
  const fromDatabase = depth > 0 || String(name).startsWith('Prisma') || name === 'DriverAdapterError';
  if (fromDatabase && (severity === 'FATAL' || severity === 'PANIC')) return true;
  if (fromDatabase && typeof code === 'string' && databaseCodes.test(code)) return true;
  return isDatabaseFailure(cause, depth + 1) || isDatabaseFailure(meta?.driverAdapterError, depth + 1);
}

function classify(error: FastifyError | AppError): Failure {
  if (error instanceof AppError) return { code: error.code, detail: error.message, error };
  if (error.validation !== undefined) {
    const errors = fieldErrors(error.validation as unknown as ValidationError[], error.validationContext ?? 'body');
    const detail = errors.length === 1 ? 'The request has a fault.' : `The request has ${errors.length} faults.`;
    return { code: 'request_invalid', detail, error: new AppError('request_invalid', detail, { errors }) };
  }
  const code = frameworkCodes[error.code];
  if (code !== undefined) return { code, detail: error.message, error: null };
  if (isDatabaseFailure(error)) {
    const headers = { 'Retry-After': '5' };
    const known = new AppError('database_unavailable', 'The database cannot be reached just now.', { headers });
    return { code: known.code, detail: known.message, error: known };
  }
  if (error instanceof SyntaxError && error.statusCode === 400) {
    return { code: 'request_invalid', detail: 'The body is not valid JSON.', error: null };
  }
  if (error.statusCode === 400) return { code: 'request_invalid', detail: error.message, error: null };
  return { code: 'internal', detail: 'Something went wrong on our side; the request id helps to find it.', error: null };
}

function sendProblem(request: FastifyRequest, reply: FastifyReply, failure: Failure): FastifyReply {
  const { code, detail, error } = failure;
  const instance = request.url.split('?')[0] ?? '';
  const body = problem({ code, detail, instance, requestId: request.id, errors: error?.errors ?? [] });
  // An error answer never inherits what a route said of its success.
  for (const name of ['etag', 'cache-control', 'content-disposition', 'content-length', 'content-range']) reply.removeHeader(name);
  // The plain serializer: a route's own response schema must not cut the problem short.
  return reply
    .headers(error?.headers ?? {})
    .code(body.status)
    .type('application/problem+json')
    .serializer((payload: unknown) => JSON.stringify(payload))
    .send(body);
}

/** For errors of routes, and of requests that never reach one (a malformed URL). */
export function answerFailure(error: FastifyError | AppError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const failure = classify(error);
  request.failure = { code: failure.code, error };
  return sendProblem(request, reply, failure);
}

export function addErrorHandler(app: Api): void {
  app.setErrorHandler<FastifyError | AppError>(answerFailure);
  app.setNotFoundHandler((request, reply) => {
    const allowed = allowedMethods(app, request.url.split('?')[0] ?? '');
    if (allowed.length === 0) {
      request.failure = { code: 'not_found', error: null };
      return sendProblem(request, reply, { code: 'not_found', detail: 'There is nothing at this address.', error: null });
    }
    const error = new AppError('method_not_allowed', `Allowed here: ${allowed.join(', ')}.`, { headers: { Allow: allowed.join(', ') } });
    request.failure = { code: error.code, error: null };
    return sendProblem(request, reply, { code: error.code, detail: error.message, error });
  });
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

function allowedMethods(app: Api, path: string): string[] {
  return methods.filter((method) => app.routeTable.some((route) => route.method === method && route.pattern.test(path)));
}
