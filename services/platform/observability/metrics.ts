/** Metrics in Prometheus form: every name, unit and label in one place. No label holds a tenant, job or URL. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

const requestBuckets = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const jobBuckets = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600];

/** With the metrics of Node itself; `process` is a label of everything, so that the processes of one machine can be shown together. */
export function createRegistry(process: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ process });
  collectDefaultMetrics({ register: registry });
  return registry;
}

export interface ApiMetrics {
  readonly requestSeconds: Histogram<'route' | 'method' | 'status'>;
  readonly jobsCreated: Counter;
  readonly uploadBytes: Counter<'kind'>;
  readonly openEventStreams: Gauge;
}

export function createApiMetrics(registry: Registry): ApiMetrics {
  const registers = [registry];
  return {
    requestSeconds: new Histogram({
      name: 'http_request_duration_seconds',
      help: 'Time to answer a request, by route pattern.',
      labelNames: ['route', 'method', 'status'],
      buckets: requestBuckets,
      registers,
    }),
    jobsCreated: new Counter({ name: 'jobs_created_total', help: 'Jobs accepted.', registers }),
    uploadBytes: new Counter({ name: 'upload_bytes_total', help: 'Bytes stored by uploads.', labelNames: ['kind'], registers }),
    openEventStreams: new Gauge({ name: 'event_streams_open', help: 'Open server-sent event streams.', registers }),
  };
}

export interface QueueMetrics {
  readonly depth: Gauge<'queue' | 'state'>;
  readonly oldestAgeSeconds: Gauge<'queue'>;
  readonly outboxLagSeconds: Gauge;
}

/** Set from SQL, by whoever reconciles: the rows are the truth, not the queue. */
export function createQueueMetrics(registry: Registry): QueueMetrics {
  const registers = [registry];
  return {
    depth: new Gauge({ name: 'queue_depth', help: 'Rows by state.', labelNames: ['queue', 'state'], registers }),
    oldestAgeSeconds: new Gauge({
      name: 'queue_oldest_age_seconds',
      help: 'Age of the oldest row that waits.',
      labelNames: ['queue'],
      registers,
    }),
    outboxLagSeconds: new Gauge({ name: 'outbox_lag_seconds', help: 'Age of the oldest message not yet in the queue.', registers }),
  };
}

export interface WorkerMetrics {
  readonly jobsFinished: Counter<'state' | 'code'>;
  readonly queueWaitSeconds: Histogram;
  readonly runSeconds: Histogram<'method'>;
  readonly phaseSeconds: Histogram<'phase'>;
  readonly redelivered: Counter;
  readonly children: Gauge;
  readonly childExits: Counter<'reason'>;
  readonly compressionRatio: Histogram;
  readonly accuracyDrop: Histogram;
}

export function createWorkerMetrics(registry: Registry): WorkerMetrics {
  const registers = [registry];
  const buckets = jobBuckets;
  return {
    jobsFinished: new Counter({
      name: 'jobs_finished_total',
      help: 'Jobs by end state and error code.',
      labelNames: ['state', 'code'],
      registers,
    }),
    queueWaitSeconds: new Histogram({ name: 'job_queue_wait_seconds', help: 'From queued to claimed.', buckets, registers }),
    runSeconds: new Histogram({
      name: 'job_run_seconds',
      help: 'Time of an attempt, by the last method of the recipe.',
      labelNames: ['method'],
      buckets,
      registers,
    }),
    phaseSeconds: new Histogram({ name: 'job_phase_seconds', help: 'Time in a phase.', labelNames: ['phase'], buckets, registers }),
    redelivered: new Counter({ name: 'queue_redelivered_total', help: 'Messages that came more than once.', registers }),
    children: new Gauge({ name: 'worker_children', help: 'Job processes at work.', registers }),
    childExits: new Counter({ name: 'child_exit_total', help: 'Ends of job processes.', labelNames: ['reason'], registers }),
    compressionRatio: new Histogram({
      name: 'compression_ratio',
      help: 'Bytes of the source over bytes of the artifact.',
      buckets: [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 12, 16],
      registers,
    }),
    accuracyDrop: new Histogram({
      name: 'accuracy_drop',
      help: 'Accuracy of the source minus that of the artifact.',
      buckets: [-0.01, 0, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2],
      registers,
    }),
  };
}

export interface WebhookMetrics {
  readonly attempts: Counter<'outcome'>;
  readonly attemptSeconds: Histogram;
  readonly endpointsDisabled: Counter;
}

export function createWebhookMetrics(registry: Registry): WebhookMetrics {
  const registers = [registry];
  return {
    attempts: new Counter({ name: 'webhook_attempts_total', help: 'Webhook calls by outcome.', labelNames: ['outcome'], registers }),
    attemptSeconds: new Histogram({ name: 'webhook_attempt_seconds', help: 'Time of a webhook call.', buckets: requestBuckets, registers }),
    endpointsDisabled: new Counter({ name: 'webhook_endpoints_disabled_total', help: 'Endpoints disabled by failures.', registers }),
  };
}
