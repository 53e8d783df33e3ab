/** On which processors the artifact gives one answer. */
import type { CompressionReport } from '../report.js';

export interface Exactness {
  readonly verdict: 'every x64 CPU' | 'x64 CPUs with VNNI only';
  readonly explanation: string;
}

export function exactnessOf({ saturation: { exact_on, explanation } }: Pick<CompressionReport, 'saturation'>): Exactness {
  return { verdict: exact_on.includes('x64') ? 'every x64 CPU' : 'x64 CPUs with VNNI only', explanation };
}
