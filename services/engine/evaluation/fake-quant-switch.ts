/** A tensor of a float graph that is rounded to integer codes and back when a feed says so, and passes unchanged otherwise. */
import {
  attributeOf,
  float32Tensor,
  Graph,
  type Model,
  type NameAuthority,
  Node,
  replaceAllUses,
  type Tensor,
  tensorOf,
  Value,
} from '../ir/index.js';
import { reportName } from '../layers/weight-store.js';

export type CodeType = 'uint8' | 'int8' | 'uint16' | 'int16';

/** How an activation tensor is quantized. */
export interface ActivationQuantization {
  /** Name of a value of the model, in the main graph or below. */
  readonly tensor: string;
  readonly scale: number;
  readonly zeroPoint: number;
  readonly dataType: CodeType;
  /** Values outside are clipped before they are rounded, so that codes stay in a part of their type. Default: the ends of the type. */
  readonly bounds?: { readonly low: number; readonly high: number };
  /** Report names of the nodes that read the rounded tensor; default: everything that reads it, the graph outputs too. */
  readonly readers?: readonly string[];
}

const zeroPointArrays = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array } as const;

const OFF = tensorOf('bool', [], Uint8Array.of(0));
const ON = tensorOf('bool', [], Uint8Array.of(1));

/** The graph inputs of one switch; its node is `If(flag) { DequantizeLinear(QuantizeLinear(x)) } else { x }`. */
export class FakeQuantSwitch {
  private readonly flag: Value;
  private readonly scale: Value;
  private readonly zeroPoint: Value;
  private readonly bounds: readonly [low: Value, high: Value] | null;

  constructor(
    model: Model,
    private readonly dataType: CodeType,
    private readonly names: NameAuthority,
    { tensor, isBounded }: { readonly tensor: string; readonly isBounded: boolean },
  ) {
    const input = (suffix: string, type: 'bool' | 'float32' | CodeType): Value => {
      const value = new Value(names.valueName(`${tensor}_${suffix}`), { kind: 'tensor', dataType: type, shape: [] });
      model.graph.inputs.push(value);
      return value;
    };
    this.flag = input('quantized', 'bool');
    this.scale = input('scale', 'float32');
    this.zeroPoint = input('zero_point', dataType);
    this.bounds = isBounded ? [input('low', 'float32'), input('high', 'float32')] : null;
  }

  /**
   * Puts the switch behind `from`, a value of `graph`; returns what the readers now read. A branch, unlike Where, costs
   * only what is taken: rounding when it is on, a copy when it is off.
   */
  insert(graph: Graph, from: Value, readers?: readonly string[]): Value {
    const to = new Value(this.names.valueName(`${from.name}_switched`));
    const branches = { then_branch: attributeOf.graph(this.rounding(from)), else_branch: attributeOf.graph(this.copying(from)) };
    const uses = from.uses;
    const node = new Node({ opType: 'If', name: this.names.nodeName(to.name), inputs: [this.flag], outputs: [to], attributes: branches });
    const own = node.subgraphs.flatMap(({ nodes }) => nodes);
    const [first] = graph.nodes;
    if (from.producer) graph.insertAfter(from.producer, node);
    else if (first) graph.insertBefore(first, node);
    else graph.append(node);
    if (!readers) replaceAllUses(graph, { from, to, except: own }, this.names);
    else for (const use of uses) if (!own.includes(use.node) && readers.includes(reportName(use.node))) use.node.setInput(use.index, to);
    return to;
  }

  private rounding(from: Value): Graph {
    const graph = new Graph(`${from.name}_rounded`);
    const codes = new Value(this.names.valueName(`${from.name}_codes`));
    const rounded = new Value(this.names.valueName(`${from.name}_rounded`), { kind: 'tensor', dataType: 'float32', shape: null });
    const parameters = [this.scale, this.zeroPoint];
    // The operators of com.microsoft take 16-bit codes, and models of any operator set.
    const domain = 'com.microsoft';
    const inside = this.clipped(graph, from);
    graph.append(
      new Node({ opType: 'QuantizeLinear', domain, name: codes.name, inputs: [inside, ...parameters], outputs: [codes] }),
      new Node({ opType: 'DequantizeLinear', domain, name: rounded.name, inputs: [codes, ...parameters], outputs: [rounded] }),
    );
    graph.outputs.push(rounded);
    return graph;
  }

  /** Max and Min, which all operator sets know with computed bounds. */
  private clipped(graph: Graph, from: Value): Value {
    let inside = from;
    for (const [at, bound] of (this.bounds ?? []).entries()) {
      const output = new Value(this.names.valueName(`${from.name}_clipped`));
      graph.append(new Node({ opType: at === 0 ? 'Max' : 'Min', name: output.name, inputs: [inside, bound], outputs: [output] }));
      inside = output;
    }
    return inside;
  }

  private copying(from: Value): Graph {
    const graph = new Graph(`${from.name}_float`);
    const copied = new Value(this.names.valueName(`${from.name}_float`), { kind: 'tensor', dataType: 'float32', shape: null });
    graph.append(new Node({ opType: 'Identity', name: copied.name, inputs: [from], outputs: [copied] }));
    graph.outputs.push(copied);
    return graph;
  }

  /** Feeds that leave the tensor as it is. */
  off(): [string, Tensor][] {
    return this.feeds(OFF, { scale: 1, zeroPoint: 0 });
  }

  /** Feeds that round the tensor. */
  on(parameters: Pick<ActivationQuantization, 'scale' | 'zeroPoint' | 'bounds'>): [string, Tensor][] {
    return this.feeds(ON, parameters);
  }

  private feeds(
    flag: Tensor,
    { scale, zeroPoint, bounds }: Pick<ActivationQuantization, 'scale' | 'zeroPoint' | 'bounds'>,
  ): [string, Tensor][] {
    const ends = [bounds?.low ?? Number.NEGATIVE_INFINITY, bounds?.high ?? Number.POSITIVE_INFINITY];
    return [
      ...(this.bounds ?? []).map((bound, at): [string, Tensor] => [bound.name, float32Tensor([], [ends[at] ?? 0])]),
      [this.flag.name, flag],
      [this.scale.name, float32Tensor([], [scale])],
      [this.zeroPoint.name, tensorOf(this.dataType, [], zeroPointArrays[this.dataType].of(zeroPoint))],
    ];
  }
}
