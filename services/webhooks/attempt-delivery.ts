/** One attempt of a delivery in three stages: claim and sign, send, write down what follows. */
import type { ClaimDeliveryOptions, ClaimedDelivery, DeliveryDecision, WebhookDeliveryRepository } from '#platform/db';
import type { WebhookMetrics } from '#platform/observability';
import { deliveryBody } from './delivery-body.js';
import type { HttpSender, SendResult } from './http-sender.js';
import { nextDelayMs } from './retry-schedule.js';
import { signatureHeaders } from './signature.js';

export interface AttemptDeliveryDeps {
  readonly deliveries: WebhookDeliveryRepository;
  readonly sender: HttpSender;
  /** Throws AppError egress_refused for an address that may not be called any more. */
  readonly parseUrl: (text: string) => URL;
  readonly publicUrl: string | null;
  readonly retryDelaysMs: readonly number[];
  /** An endpoint that has only failed for this long is switched off. */
  readonly disableAfterMs: number;
  readonly claim: ClaimDeliveryOptions;
  readonly random: () => number;
  /** One line per attempt. */
  readonly log: (fields: Readonly<Record<string, unknown>>) => void;
  readonly metrics: WebhookMetrics;
}

/** Long failure needs this many attempts too, so that a quiet endpoint is not switched off for two bad days. */
const disableAttemptsMin = 20;

/** True when an attempt was made. May run any number of times for one message. */
export async function attemptDelivery(deps: AttemptDeliveryDeps, key: { tenantId: string; deliveryId: string }): Promise<boolean> {
  const claimed = await deps.deliveries.claim(key, deps.claim);
  if (claimed === null) return false;
  const result = await send(deps, claimed);
  const decision = decide(deps, claimed, result);
  const disableEndpoint = decision.kind === 'succeeded' ? null : reasonToDisable(deps, claimed, result);
  const recorded = await deps.deliveries.recordAttempt(claimed, {
    attempt: {
      startedAt: result.startedAt,
      durationMs: result.durationMs,
      responseStatus: result.status,
      responseBody: result.body,
      error: result.error,
    },
    decision: disableEndpoint === null ? decision : { kind: 'failed' },
    disableEndpoint,
  });
  deps.metrics.attempts.inc({ outcome: disableEndpoint === null ? decision.kind : 'failed' });
  deps.metrics.attemptSeconds.observe(result.durationMs / 1000);
  if (recorded && disableEndpoint !== null) deps.metrics.endpointsDisabled.inc();
  deps.log({
    tenant_id: claimed.tenantId,
    delivery_id: claimed.deliveryId,
    event_id: claimed.event.id,
    event_type: claimed.event.type,
    job_id: claimed.event.jobId,
    endpoint_id: claimed.endpoint?.id ?? null,
    attempt: claimed.number,
    status: result.status,
    error: result.error,
    duration_ms: result.durationMs,
    decision: decision.kind,
    next_attempt_at: decision.kind === 'retry' ? decision.at.toISOString() : null,
    endpoint_disabled: disableEndpoint !== null,
    recorded,
  });
  return true;
}

async function send(deps: AttemptDeliveryDeps, claimed: ClaimedDelivery): Promise<SendResult> {
  let url: URL;
  try {
    url = deps.parseUrl(claimed.url);
  } catch {
    return { startedAt: new Date(), durationMs: 0, status: null, body: null, error: 'egress_refused', retryAfterMs: null };
  }
  const { event, tenantId } = claimed;
  const { contentType, body } = deliveryBody({ ...event, tenantId }, claimed.format, deps.publicUrl);
  const signed = { id: event.id, timestampSeconds: Math.floor(Date.now() / 1000), body };
  const headers = { 'content-type': contentType, 'user-agent': 'lathe-webhooks/1', ...signatureHeaders(signed, claimed.secrets) };
  return deps.sender.send({ url, headers, body });
}

function decide(deps: AttemptDeliveryDeps, claimed: ClaimedDelivery, result: SendResult): DeliveryDecision {
  if (result.status !== null && result.status >= 200 && result.status < 300) return { kind: 'succeeded' };
  const asked = result.status === 429 || result.status === 503 ? result.retryAfterMs : null;
  const delayMs = nextDelayMs({ number: claimed.number, retryAfterMs: asked }, deps.retryDelaysMs, deps.random());
  if (delayMs === null || result.status === 410) return { kind: 'failed' };
  return { kind: 'retry', at: new Date(Date.now() + delayMs) };
}

function reasonToDisable(deps: AttemptDeliveryDeps, { endpoint }: ClaimedDelivery, result: SendResult): string | null {
  if (endpoint === null) return null;
  if (result.status === 410) return 'The receiver answered 410 Gone.';
  const failingMs = endpoint.failingSince === null ? 0 : Date.now() - endpoint.failingSince.getTime();
  if (failingMs < deps.disableAfterMs || endpoint.failures + 1 < disableAttemptsMin) return null;
  return `Every attempt has failed since ${endpoint.failingSince?.toISOString()}.`;
}
