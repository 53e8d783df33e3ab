/** Makes a model tell the sizes of the values inside its Scan bodies: each step gives them out, and all steps have the same. */
import { attributeOf, type Graph, graphAttribute, intAttribute, intsAttribute, type Model, Node, Value } from '../ir/index.js';
import { NameAuthority } from '../ir/name-authority.js';

function bodies(graph: Graph): { readonly node: Node; readonly body: Graph }[] {
  return graph.nodes.flatMap((node) => {
    const body = node.opType === 'Scan' && node.domain === '' ? graphAttribute(node, 'body') : undefined;
    return body ? [{ node, body }] : [];
  });
}

const valuesOf = (body: Graph): Value[] => [
  ...body.inputs,
  ...body.nodes.flatMap((node) => node.outputs.filter((value): value is Value => value !== null)),
];

/** Names of the values of the Scan bodies directly below `graph`. */
export const bodyNames = (graph: Graph): string[] => bodies(graph).flatMap(({ body }) => valuesOf(body).map(({ name }) => name));

/** Edits `model`: new outputs, [steps, rank] each. Returns their names, each with the name of the value whose size it is. */
export function addBodyShapeOutputs(model: Model): Map<string, string> {
  const authority = new NameAuthority(model);
  const sizeOf = new Map<string, string>();
  for (const { node, body } of bodies(model.graph)) {
    const values = valuesOf(body).filter(({ type }) => type === null || type.kind === 'tensor');
    const kept = body.outputs.length - (node.inputs.length - intAttribute(node, 'num_scan_inputs', 0));
    for (const value of values) {
      const inner = new Value(authority.valueName(`${value.name}_shape`), { kind: 'tensor', dataType: 'int64', shape: [null] });
      const size = new Value(authority.valueName(`${value.name}_shapes`), { kind: 'tensor', dataType: 'int64', shape: [null, null] });
      body.append(new Node({ opType: 'Shape', name: authority.nodeName('observe_shape'), inputs: [value], outputs: [inner] }));
      node.setOutput(body.outputs.length, size);
      body.outputs.push(inner);
      model.graph.outputs.push(size);
      sizeOf.set(size.name, value.name);
    }
    for (const name of ['scan_output_axes', 'scan_output_directions']) {
      const given = intsAttribute(node, name, undefined) ?? Array.from({ length: kept }, () => 0);
      node.attributes.set(name, attributeOf.ints([...given, ...values.map(() => 0)]));
    }
  }
  return sizeOf;
}
