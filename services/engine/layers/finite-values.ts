/** Whether weights are numbers that can be computed with. */

/** True when every weight is a finite number. */
export function allFinite(values: Float32Array): boolean {
  // A loop: every() calls back for each of up to a billion weights.
  for (let at = 0; at < values.length; at += 1) if (!Number.isFinite(values[at])) return false;
  return true;
}
