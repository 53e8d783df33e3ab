import { describe, expect, it } from 'vitest';
import { Graph, Node, Value } from '../../../../services/engine/ir/index.js';

describe('use-def chains', () => {
  it('a replaced input is no longer a use of the old value and is one of the new', () => {
    const [a, b, c] = [new Value('a'), new Value('b'), new Value('c')];
    const add = new Node({ opType: 'Add', inputs: [a, a], outputs: [c] });
    add.setInput(1, b);
    expect(a.uses).toEqual([{ node: add, index: 0 }]);
    expect(b.uses).toEqual([{ node: add, index: 1 }]);
    expect(c.producer).toBe(add);
  });

  it('removing a node with a subgraph removes the uses that the subgraph makes of outer values', () => {
    const outer = new Value('outer');
    const body = new Graph('body');
    body.append(new Node({ opType: 'Relu', inputs: [outer], outputs: [new Value('inner')] }));
    const branch = new Node({
      opType: 'If',
      inputs: [],
      outputs: [new Value('y')],
      attributes: { then_branch: { kind: 'graph', value: body } },
    });
    const graph = new Graph('main');
    graph.append(branch);
    expect(outer.isRead).toBe(true);
    graph.remove([branch]);
    expect(outer.isRead).toBe(false);
    expect(graph.nodes).toEqual([]);
  });
});
