/** Gives each reader of a constant through an Identity its own copy, where only an exporter made them one. */
import { float32Values, type Graph, type Model, NameAuthority, type Tensor, Value } from '../ir/index.js';

/**
 * torch.onnx writes equal initializers once and hands them on by Identity: fresh normalizations (all ones, all zeros) come out
 * tied, though they are parameters of their own. Weights whose elements differ were tied on purpose, and stay so.
 * Edits `model` in place.
 */
export function untieIdentities(model: Model): void {
  const { graph } = model;
  const names = new NameAuthority(model);
  const untied = graph.nodes.filter((node) => {
    const [source, another] = node.inputs;
    const [output] = node.outputs;
    const tensor = source && !another && node.opType === 'Identity' && node.domain === '' ? graph.constant(source) : undefined;
    return tensor !== undefined && output !== null && output !== undefined && !graph.isOutput(output) && isUniform(tensor);
  });
  for (const node of untied) {
    const [source] = node.inputs;
    const [output] = node.outputs;
    const tensor = source && graph.constant(source);
    if (output && tensor) giveCopy(graph, output, { tensor, names });
  }
  graph.remove(untied);
}

/** The name of the Identity's output is the name that the exporting framework gave the parameter. */
function giveCopy(graph: Graph, output: Value, { tensor, names }: { tensor: Tensor; names: NameAuthority }): void {
  const name = output.name;
  output.name = names.valueName(`${name}_tied`);
  const own = new Value(name, { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims });
  graph.initializers.set(own, tensor);
  for (const { node, index } of output.uses) node.setInput(index, own);
}

function isUniform(tensor: Tensor): boolean {
  if (tensor.dataType !== 'float32') return false;
  const values = float32Values(tensor);
  return values.every((value) => value === values[0]);
}
