/** What a model file answers on samples, one by one, as the reference measurements were taken. */
import { bytesInMemory, float32Values } from '../../services/engine/ir/index.js';
import type { OrtRuntime } from '../../services/engine/runtime/ort-session.js';
import type { Samples, Subject } from './subjects.js';

export interface Answers {
  /** The first output for all samples, one after the other. */
  readonly scores: Float32Array;
  /** Elements of the first output for one sample. */
  readonly each: number;
}

export interface AnswerOptions {
  /** The first samples only. */
  readonly limit?: number;
  readonly config?: Readonly<Record<string, string>>;
}

/** Float arithmetic on the dequantized values: what the file means, without the saturation of integer kernels. */
export const unfused = { 'session.disable_quant_qdq': '1' } as const;

/** Batch 1: ranges that are found at run time would depend on the batch. */
export async function answersOf(
  runtime: OrtRuntime,
  { modelPath, subject, samples }: { readonly modelPath: string; readonly subject: Subject; readonly samples: Samples },
  { limit = samples.count, config = {} }: AnswerOptions = {},
): Promise<Answers> {
  const session = await runtime.open(modelPath, { config });
  try {
    const output = session.outputs[0]?.name ?? '';
    const size = samples.values.length / samples.count;
    const count = Math.min(limit, samples.count);
    let scores = new Float32Array(0);
    for (let sample = 0; sample < count; sample++) {
      const bytes = new Uint8Array(samples.values.buffer, 4 * sample * size, 4 * size);
      const feed = { dataType: 'float32' as const, dims: [1, ...samples.dims], data: bytesInMemory(bytes) };
      const result = (await session.run(new Map([[subject.input, feed]]), [output])).get(output);
      if (!result) throw new Error(`${modelPath} has no output ${output}`);
      const values = float32Values(result);
      if (sample === 0) scores = new Float32Array(count * values.length);
      scores.set(values, sample * values.length);
    }
    return { scores, each: scores.length / count };
  } finally {
    await session.close();
  }
}
