/** The port through which criteria that need gradients get them. Adapter: the training engine. */
import type { Model } from '../ir/index.js';
import type { MethodContext, RunSource } from '../method.js';

export interface GradientRequest {
  readonly model: Model;
  /** Names of float32 initializers of the main graph. */
  readonly constants: readonly string[];
  readonly samples: RunSource;
  /** Samples whose mean loss one gradient is of: 1 for gradients of single samples. */
  readonly batch: number;
  readonly context: MethodContext;
}

export interface GradientSource {
  /** dL/dw by constant, one map per batch, elements in the order of the constant. The loss is the source's own business. */
  gradients(request: GradientRequest): AsyncIterable<ReadonlyMap<string, Float32Array>>;
}
