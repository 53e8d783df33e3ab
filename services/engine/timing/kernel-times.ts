/** Times of kernels by the names that nodes have in the model, whatever the runtime made of them. */
import type { KernelTime } from '../runtime/execution-session.js';

/** What the profiler itself adds to every event: no kernel takes less than nothing, so the cheapest event bounds it. */
export function profilerOverhead(times: readonly KernelTime[]): number {
  return times.reduce((least, { microseconds }) => Math.min(least, microseconds), Number.POSITIVE_INFINITY);
}

/** What the runtime adds to the names of nodes that it rewrites: "fused " before, and behind "/QuickGeluFusion/", "_nchwc", "_token_7". */
const additions = /^fused |(\/\w+Fusion\/|_nchwc|_nhwc|_token_\d+)+$/g;

/** Kernel times by the names of the model; a kernel that took the place of several nodes counts for the last of them. */
export function timesByName(times: readonly KernelTime[]): Map<string, number> {
  const overhead = times.length > 0 ? profilerOverhead(times) - 1 : 0;
  const byName = new Map<string, number>();
  for (const { node, microseconds } of times) {
    const name = node.replace(additions, '');
    byName.set(name, (byName.get(name) ?? 0) + Math.max(0, microseconds - overhead));
  }
  return byName;
}
