/** A layer as something to be timed at any width: what it is apart from its channels, and a small model around one of it. */
import { type Attribute, elementCount, intAttribute, type Model, type Node, stringAttribute } from '../../ir/index.js';
import { ChainBuilder } from './chain-builder.js';

/** Channels that go in and come out; of a recurrent layer, of one direction. */
export interface LayerWidths {
  /** 0 where those that come out decide: depthwise convolutions, convolutions that lose whole groups. */
  readonly in: number;
  readonly out: number;
}

export interface LayerForm {
  /** Layers with equal keys take equal times at equal widths. */
  readonly key: string;
  /** The widths for dims of its (first) weight. */
  widths(weightDims: readonly number[]): LayerWidths;
  /** A model with one input "x" in which the layer is a node called "layer"; nodes called "before" and "after" only surround it. */
  chain(widths: LayerWidths): Model;
}

export interface SeenLayer {
  readonly node: Node;
  /** Of the (first) weight. */
  readonly weightDims: readonly number[];
  readonly inputDims: readonly number[];
  /** True when pruning takes whole groups of channels, not the same number from each. */
  readonly losesGroups: boolean;
}

/** Undefined for layers that are not timed by themselves. */
export function layerForm(layer: SeenLayer): LayerForm | undefined {
  const { node, weightDims, inputDims } = layer;
  if (node.domain !== '' || weightDims.some((size) => size === 0) || elementCount(inputDims) === 0) return undefined;
  switch (node.opType) {
    case 'Conv':
      return convolution(layer);
    case 'MatMul':
    case 'Gemm':
      return product(layer);
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return recurrence(layer);
    default:
      return undefined;
  }
}

const plain = ({ value }: Attribute): unknown =>
  typeof value === 'bigint' ? Number(value) : Array.isArray(value) ? value.map(String) : value;

/** The attributes that are numbers, as text. */
function described(node: Node, without: readonly string[] = []): string {
  const entries = [...node.attributes].filter(([name, { kind }]) => /^(ints?|floats?|strings?)$/.test(kind) && !without.includes(name));
  return JSON.stringify(entries.map(([name, attribute]) => [name, plain(attribute)]).sort());
}

function convolution({ node, weightDims, inputDims, losesGroups }: SeenLayer): LayerForm {
  const [channelsOut = 1, perGroup = 1] = weightDims;
  const [batch = 1, channelsIn = 1, ...places] = inputDims;
  // A layer that stands in for a branch has the attributes of one that may have groups.
  const group = perGroup === channelsIn ? 1 : intAttribute(node, 'group', 1);
  const outPerGroup = channelsOut / group;
  const isByGroups = group > 1 && (losesGroups || perGroup === 1);
  const groupsOf = (out: number): number => (isByGroups ? Math.round(out / outPerGroup) : group);
  return {
    key: `Conv ${batch}x${places.join('x')} kernel ${weightDims.slice(2)} groups ${isByGroups ? `of ${perGroup} ${outPerGroup}` : group} ${described(node, ['group'])}`,
    widths: ([out = 1, each = 1]) => ({ in: isByGroups ? 0 : each * group, out }),
    chain(widths) {
      const { out } = widths;
      const groups = groupsOf(out);
      const channels = isByGroups ? perGroup * groups : widths.in;
      const chain = new ChainBuilder([batch, 1, ...places]);
      chain.pointwise('before', [channels, 1, ...places.map(() => 1)]);
      chain.layer(node, { weights: [[out, channels / groups, ...weightDims.slice(2)]], integers: { group: groups } });
      chain.pointwise('after', [1, out, ...places.map(() => 1)]);
      return chain.model();
    },
  };
}

function product({ node, weightDims, inputDims }: SeenLayer): LayerForm | undefined {
  if (weightDims.length !== 2 || intAttribute(node, 'transA', 0) !== 0) return undefined;
  const isTransposed = intAttribute(node, 'transB', 0) !== 0;
  const rows = inputDims.slice(0, -1);
  return {
    key: `${node.opType} ${rows.join('x')} ${described(node)}`,
    widths: ([first = 1, second = 1]) => (isTransposed ? { in: second, out: first } : { in: first, out: second }),
    chain(widths) {
      const chain = new ChainBuilder([...rows, widths.in]);
      chain.layer(node, { weights: [isTransposed ? [widths.out, widths.in] : [widths.in, widths.out]] });
      return chain.model();
    },
  };
}

const gatesOf: Readonly<Record<string, number>> = { LSTM: 4, GRU: 3, RNN: 1 };

function recurrence({ node, weightDims, inputDims }: SeenLayer): LayerForm | undefined {
  const [directions = 1, rows = 1] = weightDims;
  const gates = gatesOf[node.opType] ?? 1;
  if (inputDims.length !== 3 || stringAttribute(node, 'direction', 'forward') === '' || rows % gates !== 0) return undefined;
  const sequence = inputDims.slice(0, 2);
  return {
    key: `${node.opType} ${sequence.join('x')} directions ${directions} ${described(node, ['hidden_size'])}`,
    widths: ([, gateRows = gates, channels = 1]) => ({ in: channels, out: gateRows / gates }),
    chain({ in: channels, out: hidden }) {
      const chain = new ChainBuilder([...sequence, channels]);
      const weights = [
        [directions, gates * hidden, channels],
        [directions, gates * hidden, hidden],
      ];
      chain.layer(node, { weights, integers: { hidden_size: hidden } });
      return chain.model();
    },
  };
}
