/** Whether weights are numbers that can be computed with. */

/** True when every weight is a finite number. */
export function allFinite(values: Float32Array): boolean {
  return values.every(Number.isFinite);
}
