/** What issue 4 asks for under 'Must show', as data, and the verdict on a measured figure. */

export interface Bound {
  readonly limit: number;
  /** 'least': the figure must not be below; 'most': not above. */
  readonly kind: 'least' | 'most';
  /** Said of processors that saturate (x64 without VNNI), or of those that do not; other machines leave it open. */
  readonly only?: 'saturating' | 'vnni';
}

const least = (limit: number, only?: Bound['only']): Bound => ({ limit, kind: 'least', ...(only ? { only } : {}) });
const most = (limit: number): Bound => ({ limit, kind: 'most' });

/** Must show 1: logit SQNR of the best variant of the reference tool, and agreement with fp32 on the first 2,000 test images. */
export const fidelityBounds: Readonly<Record<string, { readonly sqnr_db: Bound; readonly agreement: Bound }>> = {
  mlp: { sqnr_db: least(26.5), agreement: least(0.999) },
  mnistcnn: { sqnr_db: least(38.0), agreement: least(0.999) },
  fcnn: { sqnr_db: least(41.3), agreement: least(0.995) },
  resnet2b: { sqnr_db: least(32.6), agreement: least(0.98) },
  marabou: { sqnr_db: least(31.7), agreement: least(0.978) },
  vit: { sqnr_db: least(26.0), agreement: least(0.962) },
};
/** Fused against unfused, of 2,000; for the convolutional and MLP models. */
export const unfusedBound = least(1999 / 2000, 'saturating');
export const saturationSubjects: readonly string[] = ['mlp', 'mnistcnn', 'fcnn', 'resnet2b', 'marabou'];
/** Points of accuracy that the mean over the classifiers may lose. */
export const meanDropBound = most(0.15);
/** Level of the paired test below which a loss counts as one. */
export const SIGNIFICANCE = 0.05;

/** Must show 2: fp32 latency over the artifact's; 3 % is noise. */
export const neverSlower = least(0.97);
export const speedupBounds: Readonly<Record<string, Bound>> = {
  fcnn: least(1.8, 'saturating'),
  espcn: least(1.35, 'saturating'),
  yolox: least(1.1, 'saturating'),
};

/** Must show 3: our wall time over the reference's. */
export const wallBounds: Readonly<Record<string, Bound>> = { 'espcn 200': most(0.5), 'yolox 40': most(0.5), 'vit 2000': most(0.5) };
export const wallBound = most(1);
export const memoryBounds: Readonly<Record<string, Bound>> = {
  'fcnn percentile 2000': most(300),
  'yolox entropy 40': most(600),
  'yolox percentile 40': most(600),
};
/** Peak with 2,000 samples over the peak with 100: flat, with a tenth for noise. */
export const flatBound = most(1.1);

/** Must show 4: top-1, latency over fp32's, megabytes. */
export const minilmBounds: Readonly<Record<string, { readonly top1?: Bound; readonly latency_ratio?: Bound; readonly megabytes?: Bound }>> =
  {
    static: { top1: least(0.8103), latency_ratio: most(0.73) },
    'weight-only': { top1: least(0.8083), megabytes: most(19) },
  };

export interface Verdict {
  readonly subject: string;
  readonly figure: string;
  readonly measured: number | null;
  readonly limit: number;
  readonly kind: Bound['kind'];
  /** null: this processor, or a failure, leaves it open. */
  readonly met: boolean | null;
}

export interface Machine {
  readonly u8s8_saturates: boolean;
}

export function judge(
  { subject, figure, measured }: Pick<Verdict, 'subject' | 'figure' | 'measured'>,
  { limit, kind, only }: Bound,
  { u8s8_saturates }: Machine,
): Verdict {
  const elsewhere = (only === 'saturating' && !u8s8_saturates) || (only === 'vnni' && u8s8_saturates);
  const met = measured === null || elsewhere ? null : kind === 'least' ? measured >= limit : measured <= limit;
  return { subject, figure, measured, limit, kind, met };
}
