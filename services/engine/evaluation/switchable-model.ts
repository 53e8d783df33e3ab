/** One float graph in which every quantized site can be switched on and off by feeds: a sweep over sites opens one session. */
import { cloneModel } from '../ir/clone-model.js';
import { float32Tensor, float32Values, type Graph, graphsWithin, type Model, NameAuthority, type Tensor, type Value } from '../ir/index.js';
import { type Constant, WeightStore } from '../layers/weight-store.js';
import type { MethodContext } from '../method.js';
import { type ActivationQuantization, FakeQuantSwitch } from './fake-quant-switch.js';

export interface WeightQuantization {
  /** Name of a float32 constant. */
  readonly value: string;
  /** The weight after quantization, as real numbers in the shape of the constant; a function computes it when it is needed. */
  readonly quantized: Float32Array | (() => Float32Array);
}

/** One way to quantize a site. */
export interface SiteAlternative {
  readonly activations?: readonly ActivationQuantization[];
  readonly weights?: readonly WeightQuantization[];
}

/** What is quantized or left as one, in one of several ways. Sites may share tensors; then the last enabled one decides. */
export interface SwitchableSite {
  readonly id: string;
  readonly alternatives: readonly SiteAlternative[];
}

/** Index of the alternative of each quantized site; sites that are missing compute in float. */
export type EnabledSites = ReadonlyMap<string, number>;

export interface SwitchableModel {
  /** `fetches` defaults to the outputs of the model; otherwise names among `observe` come first, as they were before rounding. */
  run(feeds: ReadonlyMap<string, Tensor>, enabled: EnabledSites, fetches?: readonly string[]): Promise<ReadonlyMap<string, Tensor>>;
  close(): Promise<void>;
}

export interface SwitchableOptions {
  /** Values of the main graph that can be fetched, before rounding where they are rounded themselves. */
  readonly observe?: readonly string[];
}

/**
 * Opens a copy of `model` whose sites are switched by graph inputs (methods.md 3.9). Activations pass through a branch;
 * weights are graph inputs themselves, so that any rounding is possible, in any number of alternatives, without a copy.
 * Throws RangeError for a tensor, a site or an alternative that does not exist, and what opening and running throw.
 */
export async function openSwitchable(
  model: Model,
  sites: readonly SwitchableSite[],
  context: MethodContext,
  options: SwitchableOptions = {},
): Promise<SwitchableModel> {
  const graph = new SwitchableGraph(cloneModel(model), sites, options.observe ?? []);
  const outputs = model.graph.outputs.map(({ name }) => name);
  const session = await context.runtime.open(graph.model, {
    // The pairs are there for their rounding: nothing may fuse or merge them.
    config: { 'session.disable_quant_qdq': '1', 'session.disable_double_qdq_remover': '1' },
  });
  return {
    async run(feeds, enabled, fetches) {
      const wanted = new Map((fetches ?? outputs).map((name) => [fetches ? graph.nameNow(name) : name, name]));
      const results = await session.run(new Map([...feeds, ...graph.feeds(enabled)]), [...wanted.keys()]);
      return new Map([...results].map(([nameNow, tensor]) => [wanted.get(nameNow) ?? nameNow, tensor]));
    },
    close: () => session.close(),
  };
}

class SwitchableGraph {
  private readonly store: WeightStore;
  private readonly names: NameAuthority;
  private readonly sites: ReadonlyMap<string, SwitchableSite>;
  private readonly switches = new Map<string, FakeQuantSwitch>();
  /** Graph input and float value of each weight, by the name of the constant. */
  private readonly weights = new Map<string, { readonly input: Value; readonly float: Tensor }>();
  private readonly observed = new Map<string, Value>();
  private readonly allFloat: readonly [string, Tensor][];

  constructor(
    readonly model: Model,
    sites: readonly SwitchableSite[],
    observe: readonly string[],
  ) {
    this.sites = new Map(sites.map((site) => [site.id, site]));
    const alternatives = sites.flatMap((site) => site.alternatives);
    const values = valuesByName(model.graph);
    // Sizes that a file declares for computed values can be stale, and inside a branch the runtime believes them.
    for (const { value } of values.values())
      if (value.producer && value.type?.kind === 'tensor') value.type = { ...value.type, shape: null };
    this.names = new NameAuthority(model);
    this.addSwitches(
      alternatives.flatMap(({ activations }) => activations ?? []),
      values,
    );
    // After the switches, which redirect what reads a tensor, and graph outputs are readers.
    this.observe(observe, values);
    // Made after the switches: its names must not collide with theirs.
    this.store = new WeightStore(model);
    const constants = new Map(this.store.all().map((constant) => [constant.value.name, constant]));
    for (const { value } of alternatives.flatMap(({ weights }) => weights ?? [])) this.addWeight(value, constants);
    this.allFloat = [
      ...[...this.switches.values()].flatMap((each) => each.off()),
      ...[...this.weights.values()].map(({ input, float }): [string, Tensor] => [input.name, float]),
    ];
    if (this.switches.size > 0 && !model.opsetImports.has('com.microsoft')) model.opsetImports.set('com.microsoft', 1);
  }

  private observe(names: readonly string[], values: ReadonlyMap<string, Place>): void {
    const { graph } = this.model;
    for (const name of names) {
      const place = values.get(name);
      if (place?.graph !== graph || !place.value.producer)
        throw new RangeError(`openSwitchable: no node of the main graph makes "${name}"`);
      this.observed.set(name, place.value);
      if (!graph.isOutput(place.value)) graph.outputs.push(place.value);
    }
  }

  /** Whole tensors first: a reader's own switch then rounds what everything reads. */
  private addSwitches(activations: readonly ActivationQuantization[], values: ReadonlyMap<string, Place>): void {
    const latest = new Map<string, Value>();
    const bounded = new Set(activations.filter(({ bounds }) => bounds).map(switchKey));
    const ordered = [...activations].sort((a, b) => Number(a.readers !== undefined) - Number(b.readers !== undefined));
    for (const activation of ordered) {
      const { tensor, readers } = activation;
      const key = switchKey(activation);
      if (this.switches.has(key)) continue;
      const place = values.get(tensor);
      if (!place) throw new RangeError(`openSwitchable: the model has no value "${tensor}"`);
      const chain = `${tensor} ${readers?.join() ?? ''}`;
      const made = new FakeQuantSwitch(this.model, activation.dataType, this.names, { tensor, isBounded: bounded.has(key) });
      const from = latest.get(chain) ?? latest.get(`${tensor} `) ?? place.value;
      latest.set(chain, made.insert(place.graph, from, readers));
      this.switches.set(key, made);
    }
  }

  private addWeight(name: string, constants: ReadonlyMap<string, Constant>): void {
    if (this.weights.has(name)) return;
    const constant = constants.get(name);
    if (constant?.tensor.dataType !== 'float32' || this.store.isGraphOutput(constant.value))
      throw new RangeError(`openSwitchable: "${name}" is no float32 constant that only nodes read`);
    const { tensor, value } = constant;
    const input = this.store.newValue(`${name}_fed`);
    input.type = { kind: 'tensor', dataType: 'float32', shape: tensor.dims };
    this.model.graph.inputs.push(input);
    for (const { node, index } of value.uses) node.setInput(index, input);
    this.store.dropIfUnread(constant);
    this.weights.set(name, { input, float: float32Tensor(tensor.dims, float32Values(tensor)) });
  }

  /** The name under which the session knows a value; a switch behind an observed output takes its name over. */
  nameNow(name: string): string {
    return this.observed.get(name)?.name ?? name;
  }

  feeds(enabled: EnabledSites): ReadonlyMap<string, Tensor> {
    const feeds = new Map(this.allFloat);
    for (const [id, index] of enabled) {
      const alternative = this.sites.get(id)?.alternatives[index];
      if (!alternative) throw new RangeError(`openSwitchable: no alternative ${index} of site "${id}"`);
      for (const activation of alternative.activations ?? []) {
        for (const [name, tensor] of this.switches.get(switchKey(activation))?.on(activation) ?? []) feeds.set(name, tensor);
      }
      for (const { value, quantized } of alternative.weights ?? []) {
        const weight = this.weights.get(value);
        if (weight)
          feeds.set(weight.input.name, float32Tensor(weight.float.dims, typeof quantized === 'function' ? quantized() : quantized));
      }
    }
    return feeds;
  }
}

interface Place {
  readonly value: Value;
  readonly graph: Graph;
}

/** Values that are computed or fed, with the graph that brings each into scope. */
function valuesByName(main: Graph): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>();
  for (const graph of graphsWithin(main)) {
    const made = [...graph.inputs, ...graph.nodes.flatMap(({ outputs }) => outputs)];
    for (const value of made) if (value && !places.has(value.name)) places.set(value.name, { value, graph });
  }
  return places;
}

function switchKey({ tensor, dataType, readers }: ActivationQuantization): string {
  return `${tensor} ${dataType} ${readers?.join() ?? ''}`;
}
