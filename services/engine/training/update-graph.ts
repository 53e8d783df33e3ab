/** The step of the optimizer as a graph of its own, for gradients that were computed apart. */
import { Graph, GraphWriter, Model, NameAuthority, Value } from '../ir/index.js';
import { type OptimizerStep, type UpdateOptions, writeOptimizerStep } from './optimizer.js';
import type { Parameter } from './trainable-model.js';

export interface UpdateGraph {
  readonly model: Model;
  readonly optimizer: OptimizerStep;
  /** Name of the input for the gradient of a parameter by one of the parts. */
  gradientInput(parameter: string, part: number): string;
}

const OPSET = 18;

/** g = 1/n sum_k g_k: the gradient of a batch from those of its n parts of one size, where the loss is a mean over samples. */
export function updateGraph(parameters: readonly Parameter[], parts: number, options: UpdateOptions): UpdateGraph {
  const model = new Model(new Graph('update'));
  model.opsetImports.set('', OPSET);
  const names = new NameAuthority(model);
  const write = new GraphWriter(model, names, model.graph, 'update');
  const input = (name: string, dims: readonly number[]): Value => {
    const value = new Value(names.valueName(name), { kind: 'tensor', dataType: 'float32', shape: dims });
    model.graph.inputs.push(value);
    return value;
  };
  const inputs = new Map<string, readonly Value[]>();
  const trained = parameters.map((parameter) => {
    const { name, dims } = parameter;
    const value = input(name, dims);
    const gradients = Array.from({ length: parts }, (_, part) => input(`gradient/${part}/${name}`, dims));
    inputs.set(name, gradients);
    return { parameter, value, gradient: write.node('Mul', [write.node('Sum', gradients), write.float(1 / parts)]) };
  });
  const output = (value: Value): void => {
    value.type = { kind: 'tensor', dataType: 'float32', shape: null };
    model.graph.outputs.push(value);
  };
  const optimizer = writeOptimizerStep(write, { trained, options, border: { input, output } });
  model.graph.inputs.splice(0, Number.POSITIVE_INFINITY, ...model.graph.inputs.filter((value) => value.isRead));
  return { model, optimizer, gradientInput: (parameter, part) => inputs.get(parameter)?.[part]?.name ?? '' };
}
