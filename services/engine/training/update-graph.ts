/** The step of the optimizer as a graph of its own, for gradients that were computed apart. */
import { concatenated, Graph, GraphWriter, Model, NameAuthority, Value } from '../ir/index.js';
import { type OptimizerStep, type UpdateOptions, writeOptimizerStep } from './optimizer.js';
import type { ParameterRole } from './parameter-roles.js';
import type { Parameter } from './trainable-model.js';

/** Parameters of one role one behind the other: a rule treats each number by itself, so a few long arrays take the place of many short ones. */
export interface ParameterGroup {
  readonly role: ParameterRole;
  readonly size: number;
  readonly members: readonly (Parameter & { readonly from: number; readonly to: number })[];
}

export interface UpdateGraph {
  readonly model: Model;
  readonly groups: readonly ParameterGroup[];
  /** Of groups, named by their role. */
  readonly optimizer: OptimizerStep;
  /** Name of the input for the gradient of a group by one of the parts. */
  gradientInput(role: ParameterRole, part: number): string;
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
  const groups = [...new Set(parameters.map(({ role }) => role))].map((role) => groupOf(parameters, role));
  const inputs = new Map<ParameterRole, readonly Value[]>();
  const trained = groups.map(({ role, size, members }) => {
    const parameter = { name: role, dims: [size], role, values: concatenated(members.map(({ values }) => values)) };
    const value = input(role, [size]);
    const gradients = Array.from({ length: parts }, (_, part) => input(`gradient/${part}/${role}`, [size]));
    inputs.set(role, gradients);
    return { parameter, value, gradient: write.node('Mul', [write.node('Sum', gradients), write.float(1 / parts)]) };
  });
  const output = (value: Value): void => {
    value.type = { kind: 'tensor', dataType: 'float32', shape: null };
    model.graph.outputs.push(value);
  };
  const optimizer = writeOptimizerStep(write, { trained, options, border: { input, output } });
  model.graph.inputs.splice(0, Number.POSITIVE_INFINITY, ...model.graph.inputs.filter((value) => value.isRead));
  return { model, groups, optimizer, gradientInput: (role, part) => inputs.get(role)?.[part]?.name ?? '' };
}

function groupOf(parameters: readonly Parameter[], role: ParameterRole): ParameterGroup {
  let size = 0;
  const members = parameters
    .filter((parameter) => parameter.role === role)
    .map((parameter) => {
      const from = size;
      size += parameter.values.length;
      return { ...parameter, from, to: size };
    });
  return { role, size, members };
}
