/** Where the measurements were made: processor, threads, runtime, versions. */
import { release, type } from 'node:os';
import { packageVersion } from '#platform/programs';
import type { Cpu } from '../runtime/cpu.js';
import type { OrtRuntime } from '../runtime/ort-session.js';
import type { Environment } from './report.js';

export function describeEnvironment(cpu: Cpu, runtime: OrtRuntime): Environment {
  return {
    cpu: cpu.name,
    isa: cpu.isa,
    flags: cpu.flags,
    u8s8_saturates: cpu.u8s8Saturates,
    cores: cpu.logicalCores,
    threads: runtime.threads,
    runtime: runtime.name,
    lathe: packageVersion(),
    node: process.version,
    os: `${type()} ${release()}`,
  };
}
