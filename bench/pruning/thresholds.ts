/** What issue 5 asks for under 'Must show' of structured pruning, as data. */
import type { Bound } from '../quantization/thresholds.js';

const least = (limit: number): Bound => ({ limit, kind: 'least' });
const most = (limit: number): Bound => ({ limit, kind: 'most' });

/** Must show 1. */
export const exactnessCases = 1000;
export const exactnessError = most(1e-4);

/** Must show 3: latency of the source over that of the artifact, on one thread, by subject and fraction of the multiply-accumulates kept. */
export const speedups: Readonly<Record<string, Bound>> = {
  'resnet8 0.5': least(1.6),
  'resnet8 0.3': least(2.1),
  'fcnn 0.5': least(1.7),
  'espcn 0.5': least(1.7),
};
/** No artifact is slower; 3 % is noise, as for quantization. */
export const neverSlower = least(0.97);

/** Must show 4: top-1 of resnet8 on the test set, mean of four disjoint sets of images, channels in eights. */
export const repairedAccuracy: Readonly<Record<string, Bound>> = { '0.5': least(0.879), '0.3': least(0.868) };
export const repairSeconds = most(30);
/** Share of the accuracy lost by plain L2 pruning that comes back, mean over the labelled models. */
export const recovered = least(2 / 3);
