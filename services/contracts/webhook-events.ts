/** Event types that subscribers can ask for, and the body that they receive (Standard Webhooks: type, timestamp, data). */

export const webhookEventTypes = [
  'job.queued',
  'job.started',
  'job.succeeded',
  'job.failed',
  'job.canceled',
  'job.expired',
  'model.created',
  'webhook_endpoint.disabled',
  'ping',
] as const;
export type WebhookEventType = (typeof webhookEventTypes)[number];

/** Thin: ids, state and the figures that decide; the rest is behind `job_url`. */
export interface JobEventData {
  readonly job_id: string;
  readonly model_id: string;
  readonly state: string;
  readonly attempt: number;
  /** Grows by one with each event of the job, so that a receiver can drop what arrives late. */
  readonly sequence: number;
  readonly job_url: string;
  readonly result: Readonly<Record<string, unknown>> | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface WebhookBody {
  readonly type: WebhookEventType;
  /** RFC 3339, when the fact happened. */
  readonly timestamp: string;
  readonly data: Readonly<Record<string, unknown>>;
}
