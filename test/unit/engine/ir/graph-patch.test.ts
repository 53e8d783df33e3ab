/** Rewrites keep the graph true: chains, order, and above all the names of graph outputs. */
import { beforeEach, describe, expect, test } from 'vitest';
import {
  attributeOf,
  float32Tensor,
  Graph,
  GraphPatch,
  InvariantError,
  Model,
  NameAuthority,
  Node,
  needsIdentity,
  replaceAllUses,
  Value,
  verifyModel,
} from '../../../../services/engine/ir/index.js';

let model: Model;
let graph: Graph;
let names: NameAuthority;
let x: Value;
let middle: Value;
let y: Value;
let first: Node;
let second: Node;

/** x -> first (Relu) -> middle -> second (Neg) -> y */
beforeEach(() => {
  graph = new Graph('main');
  [x, middle, y] = [new Value('x'), new Value('middle'), new Value('y')];
  graph.inputs.push(x);
  graph.outputs.push(y);
  first = new Node({ opType: 'Relu', name: 'first', inputs: [x], outputs: [middle] });
  second = new Node({ opType: 'Neg', name: 'second', inputs: [middle], outputs: [y] });
  graph.append(first, second);
  model = new Model(graph);
  names = new NameAuthority(model);
});

const outputNames = () => graph.outputs.map((output) => output.name);

/** A branch that reads `captured` and, when `direct`, also returns it as it is. */
function branchReading(captured: Value, direct = false): Node {
  const body = new Graph('body');
  const inner = new Value('inner');
  body.append(new Node({ opType: 'Abs', inputs: [captured], outputs: [inner] }));
  body.outputs.push(inner);
  if (direct) body.outputs.push(captured);
  const out = new Value('branch_out');
  return new Node({ opType: 'If', name: 'branch', inputs: [x], outputs: [out], attributes: { then_branch: attributeOf.graph(body) } });
}

describe('replaceAllUses', () => {
  test('readers in the graph and in subgraphs read the replacement', () => {
    const branch = branchReading(middle, true);
    graph.append(branch);
    replaceAllUses(graph, { from: middle, to: x }, names);
    expect(second.inputs).toEqual([x]);
    expect(branch.subgraphs[0]?.nodes[0]?.inputs).toEqual([x]);
    expect(branch.subgraphs[0]?.outputs[1]).toBe(x);
    expect(middle.isRead).toBe(false);
    verifyModel(model);
  });

  test('excepted readers keep reading the old value', () => {
    const quantized = new Value('quantized');
    const inserted = new Node({ opType: 'QuantizeLinear', inputs: [middle], outputs: [quantized] });
    graph.insertAfter(first, inserted);
    replaceAllUses(graph, { from: middle, to: quantized, except: [inserted] }, names);
    expect([...inserted.inputs, ...second.inputs]).toEqual([middle, quantized]);
    verifyModel(model);
  });

  test('a value that becomes the graph output takes over name and declared type; nothing else is called so', () => {
    y.type = { kind: 'tensor', dataType: 'float32', shape: ['N'] };
    expect(needsIdentity(graph, y, middle)).toBe(false);
    replaceAllUses(graph, { from: y, to: middle }, names);
    expect(outputNames()).toEqual(['y']);
    expect(graph.outputs[0]).toBe(middle);
    expect(middle.type).toEqual(y.type);
    expect(y.name).not.toBe('y');
    graph.remove([second]);
    verifyModel(model);
  });

  test.each<[string, () => Value]>([
    ['a graph input', () => x],
    ['a constant', () => graph.addInitializer('constant', float32Tensor([1], [1]))],
    [
      'another graph output',
      () => {
        graph.outputs.push(middle);
        return middle;
      },
    ],
  ])('an output replaced by %s keeps its name through Identity', (_name, make) => {
    const to = make();
    const others = outputNames();
    expect(needsIdentity(graph, y, to)).toBe(true);
    replaceAllUses(graph, { from: y, to }, names);
    expect(outputNames()).toEqual(others);
    expect(graph.outputs[0]?.producer?.opType).toBe('Identity');
    expect(graph.outputs[0]?.producer?.inputs).toEqual([to]);
    graph.remove([second]);
    verifyModel(model);
  });
});

describe('GraphPatch', () => {
  test('inserts, replaces and removes as one step, and reports it', () => {
    const fused = new Value('fused');
    const node = new Node({ opType: 'Fused', name: 'fused', inputs: [x], outputs: [fused] });
    const patch = new GraphPatch(graph, 'fuse first and second').insertAfter(second, node).replaceUses(y, fused).remove(first, second);
    expect(graph.nodes).toEqual([first, second]);
    expect(patch.apply(names)).toEqual({ label: 'fuse first and second', inserted: [node], removed: [first, second], rewired: [] });
    expect(graph.nodes).toEqual([node]);
    expect(outputNames()).toEqual(['y']);
    verifyModel(model);
  });

  test('sets inputs and initializers', () => {
    const weight = new Value('weight');
    new GraphPatch(graph, 'add a weight')
      .setInitializer(weight, float32Tensor([2], [1, 2]))
      .setInput(second, 1, weight)
      .apply(names);
    expect(second.inputs).toEqual([middle, weight]);
    expect(weight.type).toEqual({ kind: 'tensor', dataType: 'float32', shape: [2] });
    verifyModel(model);
  });

  test('cannot be applied twice', () => {
    const patch = new GraphPatch(graph, 'nothing');
    patch.apply(names);
    expect(() => patch.apply(names)).toThrow('applied before');
  });

  test('refuses to remove a node whose output is still read, in the graph, in a subgraph, or as graph output', () => {
    expect(() => new GraphPatch(graph, 'a').remove(first).apply(names)).toThrow(/'middle'/);
    expect(() => new GraphPatch(graph, 'b').remove(second).apply(names)).toThrow(/graph output 'y'/);
    second.setInput(0, x);
    graph.append(branchReading(middle));
    expect(() => new GraphPatch(graph, 'c').remove(first).apply(names)).toThrow(/'middle'/);
  });

  test('may remove a producer together with the branch that reads it from inside', () => {
    second.setInput(0, x);
    const branch = branchReading(middle);
    graph.append(branch);
    new GraphPatch(graph, 'drop both').remove(first, branch).apply(names);
    expect(graph.nodes).toEqual([second]);
    verifyModel(model);
  });
});

describe('NameAuthority', () => {
  test('never gives a name twice, nor one that any graph of the model uses', () => {
    graph.append(branchReading(x));
    const authority = new NameAuthority(model);
    const made = ['inner', 'inner', 'fresh', 'fresh', '', ''].map((stem) => authority.valueName(stem));
    expect(made[2]).toBe('fresh');
    expect(new Set([...made, 'inner', 'x', 'y', 'middle', 'branch_out', '']).size).toBe(made.length + 6);
    expect(authority.nodeName('first')).not.toBe('first');
  });
});

describe('verifyModel finds', () => {
  test.each<[string, RegExp, () => void]>([
    ['a reader before its producer', /'middle'.*not defined before/, () => graph.reorder([second, first])],
    ['a reading of a removed node', /'middle'/, () => graph.remove([first])],
    ['a name defined twice', /'y' is defined twice/, () => Object.assign(middle, { name: 'y' })],
    ['an output that nothing makes', /'ghost'/, () => graph.outputs.push(new Value('ghost'))],
    ['a stolen producer', /another producer/, () => void new Node({ opType: 'Thief', inputs: [], outputs: [middle] })],
    ['a use by a node outside the model', /not in the model/, () => void new Node({ opType: 'Stray', inputs: [middle], outputs: [] })],
    ['an input that a node makes', /also made by/, () => graph.inputs.push(middle)],
    ['a use that the value does not know', /does not know this use/, () => middle.removeUse(second, 0)],
    [
      'a name in a subgraph that hides an outer one',
      /'x' is defined twice/,
      () => {
        const branch = branchReading(middle);
        const inner = branch.subgraphs[0]?.outputs[0];
        if (inner) inner.name = 'x';
        graph.append(branch);
      },
    ],
  ])('%s', (_name, message, breakIt) => {
    verifyModel(model);
    breakIt();
    expect(() => verifyModel(model)).toThrow(InvariantError);
    expect(() => verifyModel(model)).toThrow(message);
  });
});
