/** What the report says of a quantized forecaster: a line for each layer, and the width of every tensor. */
import { elementCount, type Node } from '../ir/index.js';
import { channelCount } from '../layers/channel-layout.js';
import { reportName } from '../layers/weight-store.js';
import type { LayerReport, MethodOutcome, NodeChange } from '../method.js';
import type { KernelChoice } from './integer-kernels.js';
import { innerPoints, pointsOf, type QuantizationPlan } from './quantization-plan.js';
import type { Settings } from './simulated-model.js';

const METHOD = 'distribution-aware';

interface Facts {
  readonly calibration: { readonly samples: number; readonly given: number; readonly seconds: number };
  readonly kernels?: KernelChoice;
}

export function outcomeOf(plan: QuantizationPlan, settings: Settings, { calibration, kernels }: Facts): MethodOutcome {
  const summary = {
    ...{ method: METHOD, samples: calibration.samples, samples_given: calibration.given, from_cache: false },
    ...{ tensors: pointsOf(plan).length, seconds: calibration.seconds },
  };
  if (kernels) return { nodes: kernels.nodes, calibration: summary, warnings: [`All tensors have 8 bits: ${kernels.reason}.`] };
  const changed = (node: Node, reason: string): NodeChange => line(node, 'changed', reason);
  const recurrents = plan.recurrents.map(({ layer, input, directions }) => {
    const widths = [input, ...directions.flatMap(innerPoints)].map(({ id, role }) => `${role} ${settings.bits.get(id)}`);
    const weights = [layer.weight, layer.recurrence].map(({ value }) => `${settings.weights.get(value.name)?.bits}`);
    return changed(
      layer.node,
      `a loop over its cell in codes, bits: weights ${[...new Set(weights)].join(' and ')}, ${[...new Set(widths)].join(', ')}`,
    );
  });
  const own = new Set(plan.recurrents.flatMap(({ layer }) => [layer.weight, layer.recurrence]));
  const products = plan.weights
    .filter(({ constant }) => !own.has(constant))
    .flatMap(({ constant }) =>
      constant.value.consumers.map((node) => changed(node, `${settings.weights.get(constant.value.name)?.bits} bit weights`)),
    );
  return {
    nodes: [...recurrents, ...products, ...plan.left.map(({ node, reason }) => line(node, 'left', reason))],
    layers: tensorLines(plan, settings),
    calibration: summary,
    warnings: ['Codes below 8 bits make files and memory smaller; the CPU computes them as floats, so they gain no time there.'].filter(
      () => [...settings.bits.values()].some((bits) => bits < 8),
    ),
  };
}

function line(node: Node, action: NodeChange['action'], reason: string): NodeChange {
  return { node: reportName(node), op_type: node.opType, action, by: METHOD, reason };
}

/** The table of bits: weights by name, then the tensors between them. */
function tensorLines(plan: QuantizationPlan, { bits, ranges, weights }: Settings): LayerReport[] {
  const constants = plan.weights.map(({ constant, layout }): LayerReport => {
    const count = elementCount(constant.tensor.dims);
    const width = weights.get(constant.value.name)?.bits ?? 8;
    const stored = width <= 4 ? Math.ceil((count * width) / 8) : count;
    const bytes_after = stored + 4 * channelCount(layout);
    return { node: constant.value.name, op_type: 'weight', form: `${width} bit`, bytes_before: 4 * count, bytes_after };
  });
  const points = pointsOf(plan).map(({ id, role }): LayerReport => {
    const range = ranges.get(id);
    const ends = range ? ([Math.min(...range.low), Math.max(...range.high)] as const) : undefined;
    return { node: id, op_type: role, form: `${bits.get(id) ?? 8} bit`, ...(ends ? { range: ends } : {}) };
  });
  return [...constants, ...points];
}
