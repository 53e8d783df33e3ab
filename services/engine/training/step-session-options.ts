/** How a graph that is run step after step is opened. */
import type { SessionOptions } from '../runtime/execution-session.js';

/**
 * Spinning threads: steps follow each other without a pause, so sleeping between operators only costs. No memory pattern:
 * its block lies beside what the first step allocated. Peak of the process for the ViT of the benchmark 659 and 420 MB.
 */
export const stepSessionOptions: SessionOptions = {
  memoryPattern: false,
  config: {
    'session.intra_op.allow_spinning': '1',
    'session.use_deterministic_compute': '1',
    'session.disable_quant_qdq': '1',
    'session.disable_double_qdq_remover': '1',
  },
};
