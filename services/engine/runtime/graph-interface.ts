/** What a model takes and gives, as the runtime's border sees it; refuses what that border cannot carry before anything is loaded. */
import { EngineError } from '../engine-errors.js';
import { elementCount, type Graph, type Model, type Value } from '../ir/index.js';
import type { InputOutputInfo } from './execution-session.js';
import { isExchanged } from './ort-tensors.js';

function describe(value: Value, role: 'input' | 'output'): InputOutputInfo {
  const type = value.type;
  if (type?.kind !== 'tensor') {
    const kind = type?.kind ?? 'of unknown type';
    throw unsupported(
      value,
      role,
      `it is ${kind === 'sparse-tensor' ? 'a sparse tensor' : kind === 'of unknown type' ? kind : `a ${kind}`}`,
    );
  }
  if (!type.dataType) throw unsupported(value, role, 'its element type is not declared');
  if (!isExchanged(type.dataType)) throw unsupported(value, role, `its elements are ${type.dataType}`);
  return { name: value.name, dataType: type.dataType, shape: type.shape };
}

function unsupported(value: Value, role: string, what: string): EngineError {
  const advice =
    role === 'output' && (value.type?.kind === 'sequence' || value.type?.kind === 'map')
      ? 'Export without ZipMap (skl2onnx: options={"zipmap": False}) or cut the graph before it.'
      : 'Make the inputs and outputs plain tensors, for example with a Cast at the border.';
  return new EngineError('model_unsupported', `The ${role} "${value.name}" cannot be used: ${what}. ${advice}`, { [role]: value.name });
}

/** Graph inputs that a caller must feed. Throws EngineError `model_unsupported` for anything but a plain tensor. */
export function declaredInputs(model: Model): InputOutputInfo[] {
  return model.graph.inputs.filter((value) => !model.graph.initializers.has(value)).map((value) => describe(value, 'input'));
}

/** Graph outputs; null for one whose type the model leaves to the runtime. Throws EngineError `model_unsupported` for anything but a plain tensor. */
export function declaredOutputs(model: Model): (InputOutputInfo | null)[] {
  return model.graph.outputs.map((value) => (value.type ? describe(value, 'output') : null));
}

/** Elements of the largest constant in the model, subgraphs included: a bound for what folding may need. */
export function largestConstantElements(model: Model): number {
  const ofGraph = (graph: Graph): number => {
    let largest = 0;
    for (const tensor of graph.initializers.values()) largest = Math.max(largest, elementCount(tensor.dims));
    for (const node of graph.nodes) {
      for (const attribute of node.attributes.values()) {
        if (attribute.kind === 'tensor') largest = Math.max(largest, elementCount(attribute.value.dims));
      }
      for (const subgraph of node.subgraphs) largest = Math.max(largest, ofGraph(subgraph));
    }
    return largest;
  };
  return Math.max(ofGraph(model.graph), ...model.functions.map((definition) => ofGraph(definition.body)));
}
