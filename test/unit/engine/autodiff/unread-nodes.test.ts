/** What nobody reads is not computed. */
import { expect, test } from 'vitest';
import { removeUnread } from '../../../../services/engine/autodiff/index.js';
import { buildModel } from '../../../support/build-model.js';

test('chains that end in no output go; whatever an output needs stays', () => {
  const { graph } = buildModel({
    inputs: [{ name: 'x', shape: [2] }],
    outputs: [{ name: 'y', shape: [2] }],
    nodes: [
      { opType: 'Neg', inputs: ['x'], outputs: ['a'] },
      { opType: 'Exp', inputs: ['a'], outputs: ['y'] },
      { opType: 'Sin', inputs: ['a'], outputs: ['b'] },
      { opType: 'Cos', inputs: ['b'], outputs: ['c'] },
    ],
  });
  removeUnread(graph);
  expect(graph.nodes.map(({ opType }) => opType)).toEqual(['Neg', 'Exp']);
});
