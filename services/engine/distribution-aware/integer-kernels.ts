/** At 8 bits the runtime has a recurrent kernel of its own (DynamicQuantizeLSTM): the faster of that and the loop over codes. */
import { cloneModel, type Model } from '../ir/index.js';
import type { MethodContext, NodeChange } from '../method.js';
import { dynamicInt8 } from '../quantization/index.js';
import { runsOnTarget } from '../timing/target-machine.js';
import { timeModels } from '../timing/whole-model-timing.js';
import type { DistributionAwareOptions } from './options.js';
import type { Settings } from './simulated-model.js';

export interface KernelChoice {
  readonly model: Model;
  readonly nodes: readonly NodeChange[];
  /** A sentence for the report. */
  readonly reason: string;
}

export interface KernelRequest {
  readonly float: Model;
  readonly codes: Model;
  readonly settings: Settings;
  readonly wish: NonNullable<DistributionAwareOptions['integer_kernels']>;
  readonly context: MethodContext;
}

/** null where the codes stay: below 8 bits, where it is not wished or nothing can be timed, and where the loop is not slower. */
export async function fasterKernels({ float, codes, settings, wish, context }: KernelRequest): Promise<KernelChoice | null> {
  const widths = [...settings.bits.values()];
  if (wish === 'never' || widths.some((bits) => bits < 8)) return null;
  if (wish === 'measure' && (context.objective === 'size' || !runsOnTarget(context))) return null;
  const model = cloneModel(float);
  const nodes = await dynamicInt8(model, {}, context);
  if (wish === 'always') return { model, nodes, reason: 'the integer kernels of the runtime, as the recipe asks' };
  const timing = await timeModels(codes, model, context);
  if (!timing || timing.after >= timing.before) return null;
  const times = `${timing.before.toPrecision(3)} ms as a loop over codes, ${timing.after.toPrecision(3)} ms with the integer kernels of the runtime`;
  return { model, nodes, reason: times };
}
