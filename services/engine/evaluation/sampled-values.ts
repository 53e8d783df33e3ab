/** Values inside a model, thinned out before they leave the runtime: enough to compare two models by, in little memory. */
import { cloneModel } from '../ir/clone-model.js';
import { float32Tensor, int64Tensor, type Model, NameAuthority, Node, type Tensor, Value } from '../ir/index.js';

export interface SampledValue {
  /** A float32 value that a node of the main graph makes. */
  readonly name: string;
  /** Every `stride`-th element is seen. */
  readonly stride: number;
  /** Beyond these bounds nothing that reads the value tells a difference. */
  readonly low: number;
  readonly high: number;
}

/** A copy of `model`, of operator set 11 or later, with a vector of elements of each value as a further output; their names by value. */
export function withSampledOutputs(
  model: Model,
  values: readonly SampledValue[],
): { readonly model: Model; readonly outputs: ReadonlyMap<string, string> } {
  const copy = cloneModel(model);
  const graph = new SampledGraph(copy);
  return { model: copy, outputs: new Map(values.flatMap((each) => graph.sample(each))) };
}

class SampledGraph {
  private readonly names: NameAuthority;
  private readonly made: ReadonlyMap<string, Value>;

  constructor(private readonly model: Model) {
    this.names = new NameAuthority(model);
    this.made = new Map(
      model.graph.nodes.flatMap(({ outputs }) => outputs.flatMap((value) => (value ? [[value.name, value] as const] : []))),
    );
  }

  sample({ name, stride, low, high }: SampledValue): [string, string][] {
    const value = this.made.get(name);
    if (!value) return [];
    const flat = this.node('Reshape', [value, this.constant(int64Tensor([1], [-1]))]);
    const ends = [0, Number.MAX_SAFE_INTEGER, 0, stride].map((end) => this.constant(int64Tensor([1], [end])));
    const thinned = this.node('Slice', [flat, ...ends]);
    const bound = (limit: number): Value | null => (Number.isFinite(limit) ? this.constant(float32Tensor([], [limit])) : null);
    const seen = Number.isFinite(low) || Number.isFinite(high) ? this.node('Clip', [thinned, bound(low), bound(high)]) : thinned;
    seen.type = { kind: 'tensor', dataType: 'float32', shape: null };
    this.model.graph.outputs.push(seen);
    return [[name, seen.name]];
  }

  private constant(tensor: Tensor): Value {
    return this.model.graph.addInitializer(this.names.valueName('sampled'), tensor);
  }

  private node(opType: string, inputs: readonly (Value | null)[]): Value {
    const output = new Value(this.names.valueName('sampled'));
    this.model.graph.append(new Node({ opType, name: this.names.nodeName('sample'), inputs, outputs: [output] }));
    return output;
  }
}
