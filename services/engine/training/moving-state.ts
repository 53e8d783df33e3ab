/** What the optimizer moves: the values that the next step reads, by graph input. */
import { float32Tensor, float32Values, type Tensor } from '../ir/index.js';
import type { OptimizerStep } from './optimizer.js';

export class MovingState {
  /** What the last step made, or what the first begins with. */
  private readonly tensors: Map<string, Tensor>;

  constructor(private readonly optimizer: OptimizerStep) {
    this.tensors = new Map(optimizer.moving.map(({ input, dims, initial }) => [input, float32Tensor(dims, initial)]));
  }

  get feeds(): ReadonlyMap<string, Tensor> {
    return this.tensors;
  }

  get outputs(): readonly string[] {
    return this.optimizer.moving.map(({ output }) => output);
  }

  move(found: ReadonlyMap<string, Tensor>): void {
    for (const { input, output } of this.optimizer.moving) this.tensors.set(input, found.get(output) as Tensor);
  }

  /** By `parameter/<name>` and `<buffer>/<name>`. Views: good until the next step. */
  arrays(): Map<string, Float32Array> {
    return new Map(this.optimizer.moving.map(({ key, input }) => [key, this.values(input)] as const));
  }

  /** The trained ones among `parameters`, by name. Views: good until the next step. */
  parameters(parameters: readonly { readonly name: string }[]): Map<string, Float32Array> {
    return new Map(parameters.flatMap(({ name }) => (this.tensors.has(name) ? [[name, this.values(name)] as const] : [])));
  }

  private values(input: string): Float32Array {
    return float32Values(this.tensors.get(input) as Tensor);
  }
}
