/** Raises the operator set of a model so that it can hold what newer versions have; outputs stay what they were. */
import {
  allGraphs,
  attributeOf,
  cloneModel,
  type Graph,
  graphsWithin,
  type Model,
  NameAuthority,
  Node,
  type Tensor,
  Value,
} from '../ir/index.js';
import type { NodeChange } from '../method.js';
import { onnxOperators } from '../ops/index.js';
import { factsOf } from './constant-nodes.js';
import { reportName } from './model-editor.js';
import type { ModelFacts } from './model-facts.js';
import { type Adapter, adapters, type UpgradeScope } from './opset-adapters.js';

export interface OpsetUpgrade {
  readonly changed: readonly NodeChange[];
  /** Why the model cannot be raised, naming the node; it is left as it was then. */
  readonly obstacle: string | null;
}

const BY = 'opset-upgrade';
/** Version 7 gave the arithmetic operators their present broadcasting; what stood before is another language. */
const OPSET_MIN = 7;
/** The newest version that the table of adapters knows. */
const OPSET_MAX = 26;

/** IR version that each operator set was released with (onnx.helper.VERSION_TABLE): the first that its types and forms are valid in. */
const irVersions: readonly (readonly [opset: number, irVersion: number])[] = [
  [9, 4],
  [10, 5],
  [11, 6],
  [12, 7],
  [15, 8],
  [19, 9],
  [21, 10],
  [23, 11],
  [24, 12],
  [25, 13],
];

/** From this IR version on, initializers need not be graph inputs. */
const IR_VERSION_WITH_FREE_INITIALIZERS = 4;

/** Raises `model` in place to operator set `to`, functions and subgraphs included; a model that has it, or a newer one, is left. */
export function upgradeOpset(model: Model, to: number): OpsetUpgrade {
  if (model.opset >= to) return { changed: [], obstacle: null };
  if (to > OPSET_MAX) return { changed: [], obstacle: `operator set ${to} is newer than ${OPSET_MAX}, the newest that is known here` };
  const rehearsal = new OpsetUpgrader(cloneModel(model), to).run();
  return rehearsal.obstacle === null ? new OpsetUpgrader(model, to).run() : rehearsal;
}

function operatorAdapters(node: Node): Readonly<Record<number, Adapter>> {
  return Object.hasOwn(adapters, node.opType) ? (adapters[node.opType] ?? {}) : {};
}

class OpsetUpgrader implements UpgradeScope {
  readonly facts: ModelFacts;
  private readonly names: NameAuthority;
  private readonly graphOutputs = new Set<Value>();
  private readonly functionGraphs = new Set<Graph>();
  private readonly changes = new Map<string, NodeChange>();

  constructor(
    private readonly model: Model,
    readonly to: number,
  ) {
    this.facts = factsOf(model);
    this.names = new NameAuthority(model);
    for (const graph of allGraphs(model)) for (const output of graph.outputs) this.graphOutputs.add(output);
    for (const { body } of model.functions) for (const graph of graphsWithin(body)) this.functionGraphs.add(graph);
  }

  run(): OpsetUpgrade {
    const { model, to } = this;
    const scopes = [{ root: model.graph, imports: model.opsetImports, label: 'the model' }];
    for (const [at, definition] of model.functions.entries()) {
      const imports = new Map(definition.opsetImports);
      scopes.push({ root: definition.body, imports, label: `function ${definition.name}` });
      model.functions[at] = { ...definition, opsetImports: imports };
    }
    for (const { root, imports, label } of scopes) {
      const obstacle = this.raise(root, imports.get(''), label);
      if (obstacle !== undefined) return { changed: [], obstacle };
      if ((imports.get('') ?? 0) < to) imports.set('', to);
    }
    this.raiseIrVersion();
    return { changed: [...this.changes.values()], obstacle: null };
  }

  private raise(root: Graph, from: number | undefined, label: string): string | undefined {
    const graphs = [...graphsWithin(root)];
    const unknown = graphs
      .flatMap(({ nodes }) => nodes)
      .find(({ domain, opType }) => domain === '' && !Object.hasOwn(onnxOperators, opType));
    if (unknown)
      return `node ${reportName(unknown)}: operator ${unknown.opType} is not known, so neither is what it means in version ${this.to}`;
    const usesOnnx = graphs.some(({ nodes }) => nodes.some(({ domain }) => domain === ''));
    if (!usesOnnx) return undefined;
    if (from === undefined || from < OPSET_MIN)
      return `${label} uses operator set ${from ?? 'none'}; export it again with version ${OPSET_MIN} or newer`;
    for (let version = from + 1; version <= this.to; version += 1) {
      for (const graph of graphs) {
        for (const node of [...graph.nodes]) {
          const reason = node.domain === '' ? this.adapt(node, version) : undefined;
          if (reason !== undefined) return `node ${reportName(node)} (${node.opType}) cannot go to version ${version}: ${reason}`;
        }
      }
    }
    return undefined;
  }

  private adapt(node: Node, version: number): string | undefined {
    const adapter = operatorAdapters(node)[version];
    if (!adapter) return undefined;
    const reference = [...node.attributes].find(([, attribute]) => attribute.kind === 'reference');
    if (reference) return `its attribute ${reference[0]} is a parameter of the function around it`;
    const { opType } = node;
    const name = reportName(node);
    const reason = adapter(node, this);
    if (reason !== undefined) return reason;
    const first = this.changes.get(name);
    const action = 'changed' as const;
    const sentence = `written as operator set ${this.to} has it`;
    this.changes.set(name, { node: name, op_type: first?.op_type ?? opType, action, by: BY, reason: sentence });
    return undefined;
  }

  isLive(value: Value): boolean {
    return value.isRead || this.graphOutputs.has(value);
  }

  /** An initializer beside the node; in a function, which has none, a Constant node before it. */
  constant(node: Node, role: string, tensor: Tensor): Value {
    const { graph } = node;
    const value = this.newValue(node, role);
    value.type = { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims };
    if (graph && this.functionGraphs.has(graph)) {
      const attributes = { value: attributeOf.tensor(tensor) };
      graph.insertBefore(node, new Node({ opType: 'Constant', name: value.name, inputs: [], outputs: [value], attributes }));
    } else {
      graph?.initializers.set(value, tensor);
    }
    this.facts.learnConstant(value, tensor);
    return value;
  }

  newValue(node: Node, role: string): Value {
    return new Value(this.names.valueName(`${reportName(node)}_${role}`));
  }

  newNodeName(node: Node, role: string): string {
    return this.names.nodeName(`${reportName(node)}_${role}`);
  }

  /** Inputs that older files list for their initializers are no inputs: the runtime never let a caller feed them. */
  private raiseIrVersion(): void {
    const { model, to } = this;
    const needed = irVersions.findLast(([opset]) => opset <= to)?.[1] ?? 0;
    if (model.irVersion >= needed) return;
    if (model.irVersion < IR_VERSION_WITH_FREE_INITIALIZERS) {
      const { inputs, initializers } = model.graph;
      inputs.splice(0, inputs.length, ...inputs.filter((input) => !initializers.has(input)));
    }
    model.irVersion = needed;
  }
}
