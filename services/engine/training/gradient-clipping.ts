/** Bounds the length of the gradient of all parameters together. */

/**
 * g = g min(1, limit / (|g| + 1e-6)), |g| the square root of the sum of all squares (torch.nn.utils.clip_grad_norm_; Pascanu and others
 * 2013), in place. Returns |g| as it was. Gradients that are not all finite stay as they are: |g| says so.
 */
export function clipGlobalNorm(gradients: ReadonlyMap<string, Float32Array>, limit: number): number {
  let squares = 0;
  for (const gradient of gradients.values()) squares += sumOfSquares(gradient);
  const norm = Math.sqrt(squares);
  const scale = limit / (norm + 1e-6);
  if (scale < 1 && Number.isFinite(norm)) for (const gradient of gradients.values()) scaleInPlace(gradient, scale);
  return norm;
}

/** In float64; a square of the largest float32 is far from its end. */
function sumOfSquares(values: Float32Array): number {
  let sum = 0;
  for (let at = 0; at < values.length; at++) {
    const value = values[at] ?? 0;
    sum += value * value;
  }
  return sum;
}

function scaleInPlace(values: Float32Array, scale: number): void {
  for (let at = 0; at < values.length; at++) values[at] = (values[at] ?? 0) * scale;
}
