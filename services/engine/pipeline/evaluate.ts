/** Measures a model on a data set, and beside a reference when one is given: what `lathe evaluate` prints. */
import { openEmulated } from '../emulation/index.js';
import { evaluateModels } from '../evaluation/evaluate-models.js';
import type { FidelityResult } from '../evaluation/fidelity.js';
import type { ImageOptions } from '../evaluation/image-quality.js';
import type { Metrics } from '../evaluation/metrics.js';
import { createOrtRuntime } from '../runtime/ort-session.js';
import { datasetSource } from './evaluation-source.js';

export interface EvaluateRequest {
  readonly modelPath: string;
  /** .npz with arrays named as the graph inputs and optional `labels`, or .npy for a model with one input. */
  readonly dataPath: string;
  /** A model with the same inputs and outputs to compare with. */
  readonly referencePath?: string;
  /** Answer as a processor with AVX2 and without VNNI would; default: as this machine. The reference is never emulated. */
  readonly emulate?: 'avx2';
  /** Compare outputs and labels as pictures, too: PSNR and SSIM. */
  readonly image?: ImageOptions;
  /** Existing private folder for temporary files. */
  readonly scratch: string;
  readonly signal?: AbortSignal;
  readonly threads?: number;
  onProgress?(fraction: number): void;
}

export interface EvaluateResult {
  /** null without labels. */
  readonly metrics: Metrics | null;
  /** null without a reference. */
  readonly reference: { readonly metrics: Metrics | null; readonly fidelity: FidelityResult } | null;
  readonly samples: number;
  /** The processor that the answers are of; null: this machine. */
  readonly emulated: 'avx2' | null;
}

/** Throws EngineError `dataset_invalid`, or what opening and running throws. */
export async function evaluate(request: EvaluateRequest): Promise<EvaluateResult> {
  const runtime = createOrtRuntime({ scratch: request.scratch, ...(request.threads ? { threads: request.threads } : {}) });
  const model = await (request.emulate ? openEmulated(runtime, request.modelPath, request) : runtime.open(request.modelPath));
  try {
    const reference = request.referencePath ? await runtime.open(request.referencePath) : undefined;
    try {
      const { dataPath: path, scratch } = request;
      /** States are those of the reference: both models see the same inputs. */
      const samples = await datasetSource({ path, scratch, open: () => runtime.open(request.referencePath ?? request.modelPath) }, model);
      try {
        const {
          metrics,
          reference: compared,
          samples: count,
        } = await evaluateModels({ model, ...(reference ? { reference } : {}) }, samples, {
          inputs: 'dataset',
          ...(request.image ? { image: request.image } : {}),
          ...(request.signal ? { signal: request.signal } : {}),
          progress: (fraction) => request.onProgress?.(fraction),
        });
        return { metrics, reference: compared, samples: count, emulated: request.emulate ?? null };
      } finally {
        await samples.close();
      }
    } finally {
      await reference?.close();
    }
  } finally {
    await model.close();
  }
}
