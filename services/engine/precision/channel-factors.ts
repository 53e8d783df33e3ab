/** The factors that one group of layers is scaled with. */
import type { ScalingGroup } from './scaling-groups.js';

/** Factors beyond these would ruin the one scale that the weights of the consumers share. */
const FACTOR_MIN = 0.1;
const FACTOR_MAX = 10;
/** The scales of a layer depend on the groups before and behind it; after three rounds they stand still. */
const SWEEPS = 3;

/**
 * With r the range of channel i and w the largest weight that the consumers multiply it with (methods.md 6.1),
 *   s_i = (r_i / max r)^a / (w_i / max w)^(1 - a),  divided by the median over living channels, within .1 to 10;
 * producers are divided by s_i, consumers multiplied. a = 1 equalizes the ranges of the channels, a = 0 the weights of the consumers. A
 * channel that is never anything but 0, or that nothing reads, keeps its scale: its factor would be without bound.
 */
export function channelFactors(ranges: ArrayLike<number>, weights: ArrayLike<number>, exponent: number): Float64Array {
  const isAlive = (channel: number): boolean => (ranges[channel] ?? 0) > 0 && (weights[channel] ?? 0) > 0;
  const [largestRange, largestWeight] = [largest(ranges), largest(weights)];
  const raw = Float64Array.from({ length: ranges.length }, (_, channel) =>
    isAlive(channel)
      ? ((ranges[channel] ?? 0) / largestRange) ** exponent / ((weights[channel] ?? 0) / largestWeight) ** (1 - exponent)
      : 0,
  );
  const living = raw.filter((factor) => factor > 0).sort();
  const median = living[Math.floor(living.length / 2)] ?? 1;
  return raw.map((factor) => (factor > 0 ? Math.max(FACTOR_MIN, Math.min(FACTOR_MAX, factor / median)) : 1));
}

function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let at = 0; at < values.length; at += 1) most = Math.max(most, values[at] ?? 0);
  return most;
}

/** Scales the layers of all groups in turn; returns the factors of each group over all rounds. `ranges` are those before. */
export function scaleGroups(groups: readonly ScalingGroup[], ranges: readonly Float64Array[], exponent: number): Float64Array[] {
  const totals = groups.map(({ channels }): Float64Array => new Float64Array(channels).fill(1));
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const [at, group] of groups.entries()) {
      const total = totals[at] ?? new Float64Array();
      const original = ranges[at] ?? new Float64Array(group.channels);
      const weights = new Float64Array(group.channels);
      for (const consumer of group.consumers)
        for (const [channel, weight] of consumer.largest('input').entries()) weights[channel] = Math.max(weights[channel] ?? 0, weight);
      /** Weights as they were before this group was scaled, so that a sweep finds the factors from the start and not on top of the last. */
      const before = weights.map((weight, channel) => weight / (total[channel] ?? 1));
      const wanted = channelFactors(original, before, exponent);
      const change = wanted.map((factor, channel) => factor / (total[channel] ?? 1));
      for (const producer of group.producers)
        producer.scale(
          'output',
          change.map((factor) => 1 / factor),
        );
      for (const consumer of group.consumers) consumer.scale('input', change);
      totals[at] = wanted;
    }
  }
  return totals;
}
