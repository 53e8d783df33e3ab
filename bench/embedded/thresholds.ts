/** What issue 7 asks for under 'Must show' of embedded accelerators, as data. */
import type { Bound } from '../quantization/thresholds.js';

/** Must show 3: bit-exact on a million random maps. */
export const exactMaps: Bound = { limit: 0, kind: 'most' };
/** Must show 3: within 15 % of the entropy of differences on the maps of espcn_x3. */
export const nearEntropy: Bound = { limit: 1.15, kind: 'most' };

/** Must show 1: of the off-chip energy of the 16-bit network without compression. */
export const energySaved = (model: string): Bound | undefined =>
  model === 'pytorch_super_resolution' ? undefined : { limit: 0.85, kind: 'least' };
/** Must show 1, in dB on Set5. */
export const psnrLost: Bound = { limit: 0.1, kind: 'most' };

/** Must show 2: outputs before and after scaling. */
export const equalOutputs: Bound = { limit: 1e-5, kind: 'most' };

/** What the files came with (PROVENANCE.md), within what luma rounds. */
export const floatPsnr = (model: string): Bound => ({
  limit: { espcn_x3: 31.275, fsrcnn_x3: 30.36, pytorch_super_resolution: 29.305 }[model] ?? 0,
  kind: 'least',
});

/** Must show 2, espcn_x3: 29.68 and 27.66 dB without scaling and fitting. */
export function fewBitsPsnr(model: string, { activation_bits }: { readonly activation_bits: number }): Bound | undefined {
  if (model !== 'espcn_x3') return undefined;
  return { limit: activation_bits === 4 ? 30.15 : 29.2, kind: 'least' };
}
