/** What operators see: logs and metrics. */

export type { Registry } from 'prom-client';
export { createLogger, type Logger, type LoggerOptions, resolveLogFormat } from './logger.js';
export {
  type ApiMetrics,
  createApiMetrics,
  createQueueMetrics,
  createRegistry,
  createWebhookMetrics,
  createWorkerMetrics,
  type QueueMetrics,
  type WebhookMetrics,
  type WorkerMetrics,
} from './metrics.js';
