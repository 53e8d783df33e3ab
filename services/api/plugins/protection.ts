/** What keeps the API standing: safe headers, a rate per key and per address, back-pressure. Body limits are per route. */
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import underPressure from '@fastify/under-pressure';
import type { FastifyRequest } from 'fastify';
import { AppError } from '#contracts';
import type { Api } from '../http/typed-app.js';

export interface ProtectionOptions {
  readonly requestsPerMinute: number;
}

/** Wrong keys from one address per minute: enough for a mistake in a script, useless for guessing. */
const failedAuthenticationsPerMinute = 100;
const minuteMs = 60_000;
const sampleMs = 1_000;

/** Before everything else, so that refusals carry them too. */
export async function addSafeHeaders(app: Api): Promise<void> {
  await app.register(helmet, { global: true, contentSecurityPolicy: { directives: { upgradeInsecureRequests: null } } });
}

export async function addProtection(app: Api, { requestsPerMinute }: ProtectionOptions): Promise<void> {
  let countsFrom = Number.POSITIVE_INFINITY;
  await app.register(underPressure, {
    // Delay and not utilization: a loop that is always busy and always in time is doing its work.
    maxEventLoopDelay: 3_000,
    sampleInterval: sampleMs,
    pressureHandler: (request) => {
      if (isExempt(request) || !app.isOverloaded()) return;
      throw new AppError('overloaded', 'The service is overloaded just now.', { headers: { 'Retry-After': '10' } });
    },
  });
  app.addHook('onListen', async () => {
    // Loading the program holds the loop up, and the sample after next is the first that begins with nothing of it.
    countsFrom = performance.now() + 2 * sampleMs;
  });
  app.decorate('isOverloaded', () => performance.now() >= countsFrom && app.isUnderPressure());
  await app.register(rateLimit, { global: false });
  const perKey = app.createRateLimit({ max: requestsPerMinute, timeWindow: minuteMs, keyGenerator: keyOf });
  const perAddress = app.createRateLimit({ max: failedAuthenticationsPerMinute, timeWindow: minuteMs, keyGenerator: addressOf });

  // Runs after authentication, so the key is known.
  app.addHook('onRequest', async (request, reply) => {
    if (request.principal.apiKeyId === '') return;
    const limit = await perKey(request);
    if (limit.isAllowed) return;
    reply.header('RateLimit-Policy', `"default";q=${limit.max};w=60`);
    reply.header('RateLimit', `"default";r=${limit.remaining};t=${limit.ttlInSeconds}`);
    if (limit.isExceeded) throw tooMany(limit.ttlInSeconds);
  });
  app.addHook('onError', async (request, _reply, error) => {
    if (error instanceof AppError && error.code === 'unauthenticated') await perAddress(request);
  });
  app.decorate('refuseGuessing', async (request: FastifyRequest) => {
    const limit = await perAddress(request, { increment: false });
    if (!limit.isAllowed && limit.remaining <= 0) throw tooMany(limit.ttlInSeconds);
  });
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Whether requests are refused just now; never before the server has listened for two samples. */
    isOverloaded(): boolean;
    /** Throws quota_exceeded for an address that has sent too many wrong keys. */
    refuseGuessing(request: FastifyRequest): Promise<void>;
  }
}

const keyOf = (request: FastifyRequest) => request.principal.apiKeyId;
const addressOf = (request: FastifyRequest) => `address ${request.ip}`;
/** Probes must see the truth, and a download in parts must not die of a busy second. */
const isExempt = (request: FastifyRequest) => request.routeOptions.config.exemptFromPressure === true;

declare module 'fastify' {
  interface FastifyContextConfig {
    exemptFromPressure?: boolean;
  }
}

function tooMany(seconds: number): AppError {
  return new AppError('quota_exceeded', 'Too many requests.', { headers: { 'Retry-After': String(Math.max(1, seconds)) } });
}
