/** ReduceMean over height and width becomes GlobalAveragePool, which has an integer kernel. */
import { attributeOf, intAttribute, intsAttribute, type Model, Node } from '../ir/index.js';
import type { NodeChange } from '../method.js';
import { ModelEditor } from './model-editor.js';
import { ModelFacts } from './model-facts.js';

const PASS = 'spatial-mean-pooling';

/** mean over axes (2, 3) of [N, C, H, W] = GlobalAveragePool(x), flattened to [N, C] without keepdims. Main graph only. */
export function poolSpatialMeans(model: Model): readonly NodeChange[] {
  const facts = new ModelFacts(model);
  facts.refresh();
  const editor = new ModelEditor(model, facts);
  for (const node of [...model.graph.nodes]) {
    const [data] = node.inputs;
    const [output] = node.outputs;
    if (node.opType !== 'ReduceMean' || node.domain !== '' || !data || !output || facts.shape(data)?.length !== 4) continue;
    const axes = intsAttribute(node, 'axes', undefined) ?? facts.integers(node.inputs[1]);
    const isSpatial = axes?.length === 2 && [2, 3].every((axis) => axes.includes(axis) || axes.includes(axis - 4));
    if (!isSpatial) continue;
    const keepsAxes = intAttribute(node, 'keepdims', 1) === 1;
    const pooled = keepsAxes ? output : editor.newValue(`${output.name}_pooled`);
    const insert = [new Node({ opType: 'GlobalAveragePool', name: node.name, inputs: [data], outputs: [pooled] })];
    /** Made only where it is needed: a node claims its outputs. */
    if (!keepsAxes) {
      const attributes = { axis: attributeOf.int(1) };
      insert.push(new Node({ opType: 'Flatten', name: `${pooled.name}_flatten`, inputs: [pooled], outputs: [output], attributes }));
    }
    editor.apply(
      {
        reason: 'the mean over height and width is a global average pool',
        anchor: node,
        insert,
        replaced: [node],
      },
      PASS,
    );
  }
  editor.sweepRemoved();
  return editor.changes;
}
