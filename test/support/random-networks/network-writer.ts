/** Writes a random network node by node: values with their shapes, weights by a seed, and what nobody has read yet. */
import { type Attribute, attributeOf, float32Tensor, int64Tensor, type Model, type Tensor } from '../../../services/engine/ir/index.js';
import { buildModel, type GraphSpec, type NodeSpec } from '../build-model.js';

/** Images are [n, C, H, W], sequences [n, T, F], vectors [n, F]; `n` is open in the model and BATCH when it is run. */
export type Kind = 'image' | 'sequence' | 'vector';

export interface Signal {
  readonly name: string;
  readonly kind: Kind;
  /** Without the batch. */
  readonly dims: readonly number[];
}

export const BATCH = 2;

export class NetworkWriter {
  readonly nodes: NodeSpec[] = [];
  readonly constants: Record<string, Tensor> = {};
  readonly signals: Signal[] = [];
  /** Names of the blocks that were written, for what a run covered. */
  readonly blocks: string[] = [];
  private readonly read = new Set<string>();
  private made = 0;
  private state: number;

  constructor(
    seed: number,
    readonly opset: number,
  ) {
    this.state = seed >>> 0;
  }

  /** In [0, 1). */
  random(): number {
    this.state = (Math.imul(this.state, 1_664_525) + 1_013_904_223) >>> 0;
    return this.state / 2 ** 32;
  }

  /** A whole number from `low` to `high`. */
  between(low: number, high: number): number {
    return low + Math.floor(this.random() * (high - low + 1));
  }

  pick<T>(choices: readonly T[]): T {
    const chosen = choices[this.between(0, choices.length - 1)];
    if (chosen === undefined) throw new Error('NetworkWriter: nothing to choose from');
    return chosen;
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  name(stem: string): string {
    this.made += 1;
    return `${stem}${this.made}`;
  }

  constant(tensor: Tensor): string {
    const name = this.name('c');
    this.constants[name] = tensor;
    return name;
  }

  /** Weights in [-1, 1] times `scale`. */
  weights(dims: readonly number[], scale = 1): string {
    const count = dims.reduce((product, size) => product * size, 1);
    return this.constant(
      float32Tensor(
        dims,
        Float32Array.from({ length: count }, () => (this.random() * 2 - 1) * scale),
      ),
    );
  }

  /** Weights in [0.5, 1.5], for what is divided by. */
  positive(dims: readonly number[]): string {
    const count = dims.reduce((product, size) => product * size, 1);
    return this.constant(
      float32Tensor(
        dims,
        Float32Array.from({ length: count }, () => 0.5 + this.random()),
      ),
    );
  }

  scalar(value: number): string {
    return this.constant(float32Tensor([], [value]));
  }

  integers(...values: number[]): string {
    return this.constant(int64Tensor([values.length], values));
  }

  /** One node with one output, whose name is returned. */
  node(opType: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}, domain = ''): string {
    return this.nodeWith(opType, inputs, { attributes, domain, outputs: 1 })[0] ?? '';
  }

  nodeWith(
    opType: string,
    inputs: readonly string[],
    { attributes = {}, outputs, domain = '' }: { attributes?: Readonly<Record<string, Attribute>>; outputs: number; domain?: string },
  ): string[] {
    const names = Array.from({ length: outputs }, () => this.name('v'));
    for (const input of inputs) this.read.add(input);
    this.nodes.push({ opType, inputs, outputs: names, attributes, ...(domain ? { domain } : {}) });
    return names;
  }

  /** Squeeze, Unsqueeze, ReduceSum: axes are an input from operator set 13 on. */
  withAxes(opType: string, input: string, axes: readonly number[], attributes: Readonly<Record<string, Attribute>> = {}): string {
    if (this.opset >= 13) return this.node(opType, [input, this.integers(...axes)], attributes);
    return this.node(opType, [input], { ...attributes, axes: attributeOf.ints(axes) });
  }

  reshape(input: string, target: readonly number[]): string {
    return this.node('Reshape', [input, this.integers(...target)]);
  }

  transpose(input: string, perm: readonly number[]): string {
    return this.node('Transpose', [input], { perm: attributeOf.ints(perm) });
  }

  add(kind: Kind, name: string, dims: readonly number[]): Signal {
    const signal = { name, kind, dims };
    this.signals.push(signal);
    return signal;
  }

  /** A signal of the kind, later ones more often. */
  choose(kind: Kind): Signal | undefined {
    const all = this.signals.filter((signal) => signal.kind === kind);
    if (all.length === 0) return undefined;
    return this.chance(0.6) ? all.at(-1) : this.pick(all);
  }

  /** Signals that no node reads. */
  loose(): Signal[] {
    return this.signals.filter(({ name }) => !this.read.has(name));
  }

  finish(input: GraphSpec['inputs'], outputs: readonly Signal[]): Model {
    const model = buildModel({
      ...(input ? { inputs: input } : {}),
      outputs: outputs.map(({ name }) => ({ name, shape: null })),
      constants: this.constants,
      nodes: this.nodes,
    });
    model.opsetImports.set('', this.opset);
    return model;
  }
}
