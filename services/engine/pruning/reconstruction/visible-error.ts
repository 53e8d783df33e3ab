/** The error of a layer as what follows it sees it, inside a probe. */
import { float32Tensor, type Value } from '../../ir/index.js';
import type { ProbeGraph } from '../../normal-equations/probe-graph.js';
import type { VisibleRange } from './layer-tail.js';
import type { Sides } from './repair-site.js';

/** target - current; where the target is hidden, only as far as `current` is not: max(0, ...) of what stands out of the hidden range. */
export function remainingError(probe: ProbeGraph, { target, current }: Sides, range: VisibleRange | null): Value {
  let error = probe.node('Sub', [target, current]);
  if (!range) return error;
  if (Number.isFinite(range.low)) {
    const low = probe.constant(float32Tensor([1], [range.low]));
    const standsOut = probe.node('Sub', [low, probe.node('Max', [current, low])]);
    error = probe.node('Where', [probe.node('Less', [target, low]), standsOut, error]);
  }
  if (Number.isFinite(range.high)) {
    const high = probe.constant(float32Tensor([1], [range.high]));
    const standsOut = probe.node('Sub', [high, probe.node('Min', [current, high])]);
    error = probe.node('Where', [probe.node('Greater', [target, high]), standsOut, error]);
  }
  return error;
}
