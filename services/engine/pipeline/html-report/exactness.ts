/** On which processors the artifact gives one answer, from what its layers allow at most. */
import type { Target } from '../../method.js';
import type { CompressionReport } from '../report.js';

export interface Exactness {
  readonly verdict: 'every x64 CPU' | 'x64 CPUs with VNNI only' | 'the target';
  readonly explanation: string;
}

/** Two products of uint8 and int8 are added in int16 on x64 without VNNI: above this the sum saturates (onnxruntime.md 1.6b). */
const PAIR_SUM_MAX = 32_767;

const targets: Readonly<Record<Target, string>> = {
  x64: 'Built for the target x64, whose integer weights are chosen so that no pair of products can saturate, with or without VNNI.',
  'x64-vnni': 'Built for the target x64-vnni: integer weights use the full int8 range, which can saturate on x64 without VNNI.',
  arm64: 'Built for the target arm64, whose integer products do not saturate; on x64 without VNNI they can.',
};

export function exactnessOf({ layers, target }: Pick<CompressionReport, 'layers' | 'target'>): Exactness {
  const bounds = layers.flatMap(({ pair_bound }) => (pair_bound === undefined ? [] : [pair_bound]));
  if (bounds.length === 0) return { verdict: target === 'x64' ? 'every x64 CPU' : 'the target', explanation: targets[target] };
  const largest = bounds.reduce((most, bound) => Math.max(most, bound), 0);
  const beyond = bounds.filter((bound) => bound > PAIR_SUM_MAX).length;
  const bound = `The largest sum of a pair of products is ${largest.toLocaleString('en-US')}; int16 holds 32,767.`;
  if (beyond === 0) return { verdict: 'every x64 CPU', explanation: `With or without VNNI. ${bound}` };
  const which = beyond === 1 ? '1 layer' : `${beyond.toLocaleString('en-US')} layers`;
  return { verdict: 'x64 CPUs with VNNI only', explanation: `On x64 without VNNI ${which} can saturate. ${bound}` };
}
