/** The folder in which times of layers are kept: valid for one processor, runtime, number of threads and version of this tool. */
import { packageVersion } from '#platform/programs';
import type { ResultCache } from '../method.js';
import { describeCpu } from '../runtime/cpu.js';
import type { OrtRuntime } from '../runtime/ort-session.js';
import { textFolder } from './text-folder.js';

export function openLatencyCache(folder: string, runtime: OrtRuntime): ResultCache {
  const { name, isa, flags, physicalCores } = describeCpu();
  return textFolder(folder, JSON.stringify(['latency', packageVersion(), name, isa, flags, physicalCores, runtime.name, runtime.threads]));
}
