/** Runs a graph step by step: segments on the runtime, saturating products in between, branches of an If as graphs of their own. */
import { dependencies, type Graph, graphAttribute, type Model, type Node, type Tensor, type Value } from '../ir/index.js';
import type { Runtime } from '../runtime/execution-session.js';
import { emulatedOperator } from './emulated-operators.js';
import { planExecution, type Step } from './execution-plan.js';
import { type Bindings, bound, RuntimeSegment } from './runtime-segment.js';

export interface EmulationContext {
  readonly model: Model;
  readonly saturating: ReadonlySet<Node>;
  readonly runtime: Runtime;
  /** Constants of the graphs around the one that is run. */
  readonly constants: ReadonlyMap<Value, Tensor>;
}

interface RunnableStep {
  run(bindings: Bindings): Promise<void>;
  close(): Promise<void>;
}

export class EmulatedGraph {
  private readonly steps: readonly RunnableStep[];
  private readonly constants: ReadonlyMap<Value, Tensor>;

  constructor(
    private readonly graph: Graph,
    context: EmulationContext,
  ) {
    this.constants = new Map([...context.constants, ...graph.initializers]);
    const plan = planExecution(graph, context.saturating);
    this.steps = plan.map((step) => this.runnable(step, plan, { ...context, constants: this.constants }));
  }

  /** Computes the outputs of the graph; `bindings` holds its inputs and what it captures, and is filled with all that steps hand on. */
  async run(bindings: Bindings): Promise<void> {
    for (const [value, tensor] of this.constants) if (!bindings.has(value)) bindings.set(value, tensor);
    for (const step of this.steps) await step.run(bindings);
  }

  async close(): Promise<void> {
    for (const step of this.steps) await step.close();
  }

  private runnable(step: Step, plan: readonly Step[], context: EmulationContext): RunnableStep {
    if (step.kind === 'product') return productStep(step.node);
    if (step.kind === 'conditional') return new ConditionalStep(step.node, context);
    const { model, runtime, constants } = context;
    return new RuntimeSegment({ nodes: step.nodes, outputs: this.handedOn(step.nodes, plan), model, constants, runtime });
  }

  /** What the nodes of a segment make for other steps or as outputs of the graph. */
  private handedOn(nodes: readonly Node[], plan: readonly Step[]): Value[] {
    const inside = new Set(nodes);
    const others = plan.flatMap((step) => (step.kind === 'segment' ? step.nodes : [step.node])).filter((node) => !inside.has(node));
    const readElsewhere = new Set(others.flatMap((node) => [...dependencies(node)]));
    const made = nodes.flatMap((node) => node.outputs).filter((value): value is Value => value !== null);
    return made.filter((value) => readElsewhere.has(value) || this.graph.isOutput(value));
  }
}

function productStep(node: Node): RunnableStep {
  const operator = emulatedOperator(node);
  return {
    async run(bindings) {
      const inputs = node.inputs.map((value) => value && bound(value, bindings));
      const [output] = node.outputs;
      if (output) bindings.set(output, operator(node, inputs));
    },
    async close() {},
  };
}

/** An If: runs the branch that its condition takes. */
class ConditionalStep implements RunnableStep {
  private readonly branches = new Map<boolean, EmulatedGraph>();

  constructor(
    private readonly node: Node,
    private readonly context: EmulationContext,
  ) {}

  async run(bindings: Bindings): Promise<void> {
    const [condition] = this.node.inputs;
    const taken = condition ? (bound(condition, bindings).data.read()[0] ?? 0) !== 0 : false;
    const graph = graphAttribute(this.node, taken ? 'then_branch' : 'else_branch');
    if (!graph) throw new TypeError(`If ${this.node.name} has no ${taken ? 'then' : 'else'} branch`);
    const branch = this.branches.get(taken) ?? new EmulatedGraph(graph, this.context);
    this.branches.set(taken, branch);
    await branch.run(bindings);
    for (const [index, output] of this.node.outputs.entries()) {
      const result = graph.outputs[index];
      if (output && result) bindings.set(output, bound(result, bindings));
    }
  }

  async close(): Promise<void> {
    for (const branch of this.branches.values()) await branch.close();
  }
}
