/** How long a layer takes in float32 and in int8 on this machine: both variants looped inside one small model. */
import { attributeOf, elementCount, Graph, int64Tensor, Model, Node, type Tensor, tensorOf, Value } from '../ir/index.js';
import { type ExecutionSession, type Runtime, timedConfig } from '../runtime/execution-session.js';
import { madeUpTensor } from '../timing/made-up-tensor.js';

/** Microseconds for one execution. */
export interface LayerTiming {
  readonly float: number;
  readonly integer: number;
}

/** A layer as its two variants, over weights that are made up: the time does not depend on them. */
export interface TimedLayer {
  readonly activationDims: readonly number[];
  readonly outputDims: readonly number[];
  /** Multiply-accumulate operations, to choose how often the loop turns. */
  readonly macs: number;
  float(body: LoopBody): void;
  integer(body: LoopBody): void;
}

/** Where a variant puts its node. `activation` comes from outside; the node must write `output`. */
export interface LoopBody {
  readonly activation: Value;
  readonly output: Value;
  constant(name: string, tensor: Tensor): Value;
  add(node: Node): void;
}

const ROUNDS = 9;
const TURN_MACS = 3e7;
const TURNS_MAX = 300;
const TURNS_MIN = 3;
const OPSET = 17;
const IR_VERSION = 8;

/** Minima over interleaved rounds, as other load on the machine only ever adds time. Takes some tens of milliseconds. */
export async function timeLayer(runtime: Runtime, layer: TimedLayer): Promise<LayerTiming> {
  const turns = Math.max(TURNS_MIN, Math.min(TURNS_MAX, Math.round(TURN_MACS / Math.max(1, layer.macs))));
  const session = await runtime.open(timingModel(layer), { config: timedConfig });
  try {
    const activation = madeUpTensor(layer.activationDims);
    const run = (float: number, integer: number): Promise<number> => elapsed(session, { activation, float, integer });
    await run(turns, turns);
    const times = { idle: [] as number[], float: [] as number[], integer: [] as number[] };
    for (let round = 0; round < ROUNDS; round += 1) {
      times.idle.push(await run(0, 0));
      times.float.push(await run(turns, 0));
      times.integer.push(await run(0, turns));
    }
    const idle = Math.min(...times.idle);
    const perTurn = (values: number[]): number => Math.max(0.01, ((Math.min(...values) - idle) * 1000) / turns);
    return { float: perTurn(times.float), integer: perTurn(times.integer) };
  } finally {
    await session.close();
  }
}

async function elapsed(session: ExecutionSession, run: { activation: Tensor; float: number; integer: number }): Promise<number> {
  const feeds = new Map([
    ['activation', run.activation],
    ['float_turns', int64Tensor([], [run.float])],
    ['integer_turns', int64Tensor([], [run.integer])],
  ]);
  const before = performance.now();
  await session.run(feeds, ['float_done', 'integer_done']);
  return performance.now() - before;
}

function timingModel(layer: TimedLayer): Model {
  const graph = new Graph('layer_timing');
  const activation = new Value('activation', { kind: 'tensor', dataType: 'float32', shape: layer.activationDims });
  graph.inputs.push(activation);
  for (const variant of ['float', 'integer'] as const) {
    const turns = new Value(`${variant}_turns`, { kind: 'tensor', dataType: 'int64', shape: [] });
    graph.inputs.push(turns);
    const start = graph.addInitializer(
      `${variant}_start`,
      tensorOf('float32', layer.outputDims, new Float32Array(elementCount(layer.outputDims))),
    );
    const result = new Value(`${variant}_result`, { kind: 'tensor', dataType: 'float32', shape: layer.outputDims });
    const body = loopBody(variant, layer, activation);
    graph.append(
      new Node({
        opType: 'Loop',
        name: variant,
        inputs: [turns, null, start],
        outputs: [result],
        attributes: { body: attributeOf.graph(body) },
      }),
    );
    // One number from the result: its shape alone would be known without running the loop.
    const done = new Value(`${variant}_done`, { kind: 'tensor', dataType: 'float32', shape: [] });
    graph.append(new Node({ opType: 'ReduceMax', inputs: [result], outputs: [done], attributes: { keepdims: attributeOf.int(0) } }));
    graph.outputs.push(done);
  }
  const model = new Model(graph);
  model.irVersion = IR_VERSION;
  model.opsetImports.set('', OPSET);
  model.opsetImports.set('com.microsoft', 1);
  return model;
}

function loopBody(variant: 'float' | 'integer', layer: TimedLayer, activation: Value): Graph {
  const body = new Graph(`${variant}_body`);
  const value = (name: string, type: Value['type']): Value => new Value(`${variant}_${name}`, type);
  const carried = { kind: 'tensor', dataType: 'float32', shape: layer.outputDims } as const;
  const condition = { kind: 'tensor', dataType: 'bool', shape: [] } as const;
  const going = value('going', condition);
  const goingOn = value('going_on', condition);
  const output = value('output', carried);
  body.inputs.push(value('turn', { kind: 'tensor', dataType: 'int64', shape: [] }), going, value('previous', carried));
  body.append(new Node({ opType: 'Identity', inputs: [going], outputs: [goingOn] }));
  layer[variant]({
    activation,
    output,
    constant: (name, tensor) => body.addInitializer(`${variant}_${name}`, tensor),
    add: (node) => body.append(node),
  });
  body.outputs.push(goingOn, output);
  return body;
}
