/** Models of one layer, contexts, and a runtime whose times are made up, for the tests of low rank. */
import { type Attribute, attributeOf, type Model, type Node, type Tensor } from '../../../../services/engine/ir/index.js';
import { WeightStore } from '../../../../services/engine/layers/weight-store.js';
import { findLayers, type MatrixLayer } from '../../../../services/engine/low-rank/matrix-layers.js';
import type { MethodContext } from '../../../../services/engine/method.js';
import type { KernelTime, Runtime } from '../../../../services/engine/runtime/execution-session.js';
import { contextFor, ModelBuilder, noise, runtime } from '../quantization/method-fixtures.js';

export interface ConvolutionSpec {
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: readonly number[];
  readonly spatial: readonly number[];
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  readonly pads?: readonly number[];
  readonly autoPad?: string;
  readonly bias?: boolean;
  readonly weight?: Tensor;
  readonly seed?: number;
  readonly opset?: number;
}

/** x [n, inputs, ...spatial] -> Conv -> y. */
export function convolutionModel(spec: ConvolutionSpec): Model {
  const { inputs, outputs, kernel, spatial, seed = 1 } = spec;
  const builder = new ModelBuilder({ opset: spec.opset ?? 17 });
  const attributes: Record<string, Attribute> = { kernel_shape: attributeOf.ints(kernel) };
  if (spec.strides) attributes.strides = attributeOf.ints(spec.strides);
  if (spec.dilations) attributes.dilations = attributeOf.ints(spec.dilations);
  if (spec.pads) attributes.pads = attributeOf.ints(spec.pads);
  if (spec.autoPad) attributes.auto_pad = attributeOf.string(spec.autoPad);
  const x = builder.input('x', ['n', inputs, ...spatial]);
  const w = builder.constant('w', spec.weight ?? noise([outputs, inputs, ...kernel], seed));
  const b = spec.bias === false ? [] : [builder.constant('b', noise([outputs], seed + 1))];
  return builder.output(builder.node('Conv', [x, w, ...b], attributes)).model;
}

export function onlyLayer(model: Model): MatrixLayer {
  const [layer, ...others] = findLayers(model, new WeightStore(model), []).layers;
  if (!layer || others.length > 0) throw new Error('the model has not one layer');
  return layer;
}

export function nodeOf(model: Model, name: string): Node {
  const node = model.graph.nodes.find((each) => each.name === name);
  if (!node) throw new Error(`no node ${name}`);
  return node;
}

export interface MadeUpTimes {
  /** Microseconds of a kernel, by the name of its node; `isFactorised` when the model has factors. */
  kernel(node: string, isFactorised: boolean): number;
  /** Whether a model that is timed as a whole takes long. */
  isSlow(isFactorised: boolean): boolean;
}

export interface TimedRuntime extends Runtime {
  /** Profiles that were asked for. */
  profiles(): number;
}

export function isFactorised({ graph }: Model): boolean {
  return graph.nodes.some(({ name }) => name.includes('_low_rank'));
}

/** The real runtime, except that profiles are made up and models that are timed take the time they are given. */
export function timedRuntime({ kernel, isSlow }: MadeUpTimes): TimedRuntime {
  let profiles = 0;
  return {
    ...runtime,
    profiles: () => profiles,
    async profile(models) {
      profiles += 1;
      return models.map((model): KernelTime[] => {
        if (typeof model === 'string') return [];
        const kernels = model.graph.nodes.map(({ name, opType }) => ({
          node: name,
          opType,
          microseconds: kernel(name, isFactorised(model)),
        }));
        // The cheapest event is what the profiler itself takes.
        return [...kernels, { node: 'nothing', opType: 'Identity', microseconds: 1 }];
      });
    },
    async open(model, options) {
      const session = await runtime.open(model, options);
      if (typeof model === 'string' || options?.config?.['session.intra_op.allow_spinning'] !== '1') return session;
      const slow = isSlow(isFactorised(model));
      return {
        inputs: session.inputs,
        outputs: session.outputs,
        async run(feeds, fetches) {
          const end = performance.now() + (slow ? 0.4 : 0.1);
          while (performance.now() < end);
          return session.run(feeds, fetches);
        },
        close: () => session.close(),
      };
    },
  };
}

export const sizeContext: MethodContext = { ...contextFor('measured'), objective: 'size' };
