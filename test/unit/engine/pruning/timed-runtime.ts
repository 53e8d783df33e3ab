/** The real runtime, except for what it is asked to time: there, a law says how long a model takes. */
import type { Model, Node, Tensor } from '../../../../services/engine/ir/index.js';
import type { MethodContext } from '../../../../services/engine/method.js';
import { runtime } from '../quantization/method-fixtures.js';

/** Microseconds of one run. */
export type TimeLaw = (model: Model) => number;

const isLayer = ({ opType }: Node): boolean => /^(Conv|MatMul|Gemm)$/.test(opType);

export function timedRuntime(law: TimeLaw): MethodContext['runtime'] {
  return {
    ...runtime,
    async profile(models) {
      return models.map((model) =>
        typeof model === 'string'
          ? []
          : model.graph.nodes.filter(isLayer).map(({ name, opType }) => ({ node: name, opType, microseconds: 2 })),
      );
    },
    async open(model, options) {
      if (typeof model === 'string' || options?.config?.['session.intra_op.allow_spinning'] !== '1') return runtime.open(model, options);
      const microseconds = law(model);
      return {
        inputs: [],
        outputs: [],
        async run(): Promise<Map<string, Tensor>> {
          const end = performance.now() + microseconds / 1000;
          while (performance.now() < end);
          return new Map();
        },
        async close() {},
      };
    },
  };
}

/** Size along the first axis of a weight: output channels of a convolution. */
export function channelsOf({ graph }: Model, weight: string): number {
  return [...graph.initializers].find(([{ name }]) => name === weight)?.[1].dims[0] ?? 0;
}
