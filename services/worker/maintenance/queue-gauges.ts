/** At each look of the reconciler: how much work waits and for how long, from the rows into the gauges. */
import type { WorkBacklog } from '#platform/db';
import type { QueueMetrics } from '#platform/observability';

export function showBacklog({ depth, oldestAgeSeconds, outboxLagSeconds }: QueueMetrics, backlog: WorkBacklog): void {
  for (const { queue, rows, oldestAgeSeconds: age } of backlog.queues) {
    for (const [state, count] of Object.entries(rows)) depth.set({ queue, state }, count);
    oldestAgeSeconds.set({ queue }, age);
  }
  outboxLagSeconds.set(backlog.outboxLagSeconds);
}
