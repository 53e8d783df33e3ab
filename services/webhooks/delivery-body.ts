/** The bytes of a delivery: one fixed serialisation per event and format, the same for each attempt. */
import type { WebhookBody, WebhookEventType } from '#contracts';

export interface EventToSend {
  readonly id: string;
  readonly type: WebhookEventType;
  readonly tenantId: string;
  readonly jobId: string | null;
  readonly data: Readonly<Record<string, unknown>>;
  readonly createdAt: Date;
}

export interface DeliveryBody {
  readonly contentType: string;
  readonly body: string;
}

/** `publicUrl` completes `job_url`; without one it stays a path. */
export function deliveryBody(event: EventToSend, format: 'standard' | 'cloudevents', publicUrl: string | null): DeliveryBody {
  const data = withAbsoluteLink(event.data, publicUrl);
  if (format === 'standard') {
    const body: WebhookBody = { type: event.type, timestamp: event.createdAt.toISOString(), data };
    return { contentType: 'application/json', body: JSON.stringify(body) };
  }
  return { contentType: 'application/cloudevents+json; charset=utf-8', body: JSON.stringify(cloudEvent(event, data)) };
}

/** CloudEvents 1.0.2, structured content mode of the HTTP binding. */
function cloudEvent(event: EventToSend, data: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const tenant = `/tenants/${event.tenantId}`;
  return {
    specversion: '1.0',
    id: event.id,
    source: event.jobId === null ? tenant : `${tenant}/jobs/${event.jobId}`,
    type: `io.lathe.${event.type}.v1`,
    ...(event.jobId === null ? {} : { subject: event.jobId }),
    time: event.createdAt.toISOString(),
    datacontenttype: 'application/json',
    data,
  };
}

function withAbsoluteLink(data: Readonly<Record<string, unknown>>, publicUrl: string | null): Readonly<Record<string, unknown>> {
  if (publicUrl === null || typeof data.job_url !== 'string') return data;
  return { ...data, job_url: `${publicUrl.replace(/\/$/, '')}${data.job_url}` };
}
