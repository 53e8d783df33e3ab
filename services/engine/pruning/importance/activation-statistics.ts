/** What the units carry on the samples, as their consumers see them: reduced in the runtime, no activation leaves it. */
import { attributeOf, float32Tensor, float32Values, integerValues, type Model, type Value } from '../../ir/index.js';
import type { MethodContext, RunSource } from '../../method.js';
import { groupsOf, type RowLayer, rowSignature } from '../../normal-equations/layer-rows.js';
import type { ProbeGraph } from '../../normal-equations/probe-graph.js';
import { sumRows } from '../../normal-equations/row-sums.js';
import type { ConsumerPart } from '../reconstruction/consumer-parts.js';
import type { ActivationCriterion } from './options.js';

export interface StatisticsRequest {
  readonly model: Model;
  readonly parts: readonly ConsumerPart[];
  readonly criterion: ActivationCriterion;
  readonly samples: RunSource;
}

/**
 * By part, of each input channel: E|a|, the share of values that are not 0 (1 - APoZ, Hu et al., arXiv 1607.03250), or the standard
 * deviation. Parts whose activation the main graph does not make are missing.
 */
export async function activationScores(request: StatisticsRequest, context: MethodContext): Promise<Map<ConsumerPart, Float64Array>> {
  const layers = request.parts.map(({ weight }) => ({ ...pointRows(weight.form.rows), key: rowSignature(weight.form.rows) }));
  const sums = await sumRows({ ...request, layers, context }, (probe, { rows, layer }) => {
    const names = moments(probe, rows, request.criterion).map((value) => probe.output(probe.node('GlobalAveragePool', [value]), 'float32'));
    const shape = probe.output(probe.node('Shape', [rows]), 'int64');
    const totals = names.map(() => new Float64Array(groupsOf(layer) * layer.depth));
    let count = 0;
    return {
      add(part) {
        const [, , own = 0] = integerValues(part(shape));
        for (const [at, name] of names.entries()) {
          const total = totals[at];
          if (total) for (const [channel, mean] of float32Values(part(name)).entries()) total[channel] = (total[channel] ?? 0) + own * mean;
        }
        count += own;
      },
      result: () => channelScores(totals, count, layer.depth),
    };
  });
  return new Map(request.parts.flatMap((part) => unitScores(part, sums.get(rowSignature(part.weight.form.rows)))));
}

/** The channels themselves, each position once, instead of windows of them. */
function pointRows(layer: RowLayer): RowLayer {
  const { window } = layer;
  if (!window) return layer;
  const { channels, group, kernel } = window;
  return { ...layer, depth: channels / group, window: { opType: 'Conv', channels, group, kernel: kernel.map(() => 1), attributes: {} } };
}

function moments(probe: ProbeGraph, rows: Value, criterion: ActivationCriterion): Value[] {
  if (criterion === 'activation-std') return [rows, probe.node('Mul', [rows, rows])];
  const size = probe.node('Abs', [rows]);
  if (criterion === 'activation-mean') return [size];
  const isNonZero = probe.node('Greater', [size, probe.constant(float32Tensor([1], [0]))]);
  return [probe.node('Cast', [isNonZero], { to: attributeOf.int(1) })];
}

interface ChannelScores {
  /** [groups, channels per group]. */
  readonly scores: Float64Array;
  readonly depth: number;
}

function channelScores([first = new Float64Array(), second]: readonly Float64Array[], count: number, depth: number): ChannelScores {
  const scores = first.map((sum, at) => {
    const mean = sum / count;
    return second ? Math.sqrt(Math.max(0, (second[at] ?? 0) / count - mean ** 2)) : mean;
  });
  return { scores, depth };
}

/** The mean over the channels that are the unit: several where it was flattened or is a head. */
function unitScores(part: ConsumerPart, found: ChannelScores | undefined): [ConsumerPart, Float64Array][] {
  if (!found) return [];
  const positions = (part.weight.form.rows.window?.kernel ?? []).reduce((product, size) => product * size, 1);
  const scores = Float64Array.from(part.blocks, (columns) => {
    const channels = [...new Set(columns.map((column) => Math.floor(column / positions)))];
    return (
      channels.reduce((sum, channel) => sum + (found.scores[part.group * found.depth + channel] ?? 0), 0) / Math.max(1, channels.length)
    );
  });
  return [[part, scores]];
}
