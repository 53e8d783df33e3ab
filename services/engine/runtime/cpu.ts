/** Describes the processor that latencies are measured on, and what its instructions mean for int8. */
import { readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus } from 'node:os';

/** The widest integer dot product that onnxruntime can use on the processor. */
export type InstructionSet =
  | 'amx'
  | 'avx512-vnni'
  | 'avx-vnni'
  | 'avx512'
  | 'avx2'
  | 'x64-baseline'
  | 'arm64-i8mm'
  | 'arm64-dotprod'
  | 'arm64'
  | 'other';

export interface Cpu {
  readonly name: string;
  readonly logicalCores: number;
  /** Cores that this process may use, hyper-threads counted once. */
  readonly physicalCores: number;
  /** Processor features as the operating system names them, those that matter for inference only; empty when it does not tell. */
  readonly flags: readonly string[];
  readonly isa: InstructionSet;
  /**
   * True when uint8 x int8 products are added pairwise with saturation at int16 (VPMADDUBSW): weights that use the full
   * int8 range may then give other results than on a processor with VNNI.
   */
  readonly u8s8Saturates: boolean;
}

const relevantFlags: ReadonlySet<string> = new Set(
  [
    'sse4_1 avx avx2 fma f16c avx_vnni avx_vnni_int8 avx512f avx512bw avx512vl avx512dq avx512_vnni avx512_bf16 avx512_fp16',
    'amx_tile amx_int8 amx_bf16 asimd asimdhp asimddp i8mm sve sve2 bf16',
  ].flatMap((line) => line.split(' ')),
);

interface CpuInfoFields {
  readonly name: string | undefined;
  readonly flags: readonly string[];
  readonly physicalCores: number;
}

/** Reads the text of Linux /proc/cpuinfo, x64 or arm64. */
export function parseCpuInfo(text: string): CpuInfoFields {
  const processors = text
    .split(/\n\s*\n/)
    .filter((block) => /^processor\s*:/m.test(block))
    .map(
      (block) =>
        new Map(block.split('\n').map((line) => [line.slice(0, line.indexOf(':')).trim(), line.slice(line.indexOf(':') + 1).trim()])),
    );
  const first = processors[0];
  const cores = new Set(processors.map((fields, index) => `${fields.get('physical id') ?? 0}:${fields.get('core id') ?? index}`));
  const flags = (first?.get('flags') ?? first?.get('Features') ?? '').split(/\s+/);
  return { name: first?.get('model name'), flags: flags.filter((flag) => relevantFlags.has(flag)), physicalCores: cores.size };
}

function instructionSet(flags: ReadonlySet<string>, architecture: string): InstructionSet {
  if (architecture === 'arm64') {
    if (flags.has('i8mm')) return 'arm64-i8mm';
    return flags.has('asimddp') ? 'arm64-dotprod' : 'arm64';
  }
  if (architecture !== 'x64' || flags.size === 0) return 'other';
  if (flags.has('amx_int8') && flags.has('avx512_vnni')) return 'amx';
  if (flags.has('avx512_vnni')) return 'avx512-vnni';
  if (flags.has('avx_vnni')) return 'avx-vnni';
  if (flags.has('avx512bw')) return 'avx512';
  return flags.has('avx2') ? 'avx2' : 'x64-baseline';
}

/** What a set of feature names means on an architecture (`process.arch` names); an x64 system that names none counts as saturating. */
export function classifyInstructions(flags: readonly string[], architecture: string): Pick<Cpu, 'isa' | 'u8s8Saturates'> {
  const isa = instructionSet(new Set(flags), architecture);
  const widens: readonly InstructionSet[] = ['amx', 'avx512-vnni', 'avx-vnni'];
  return { isa, u8s8Saturates: architecture === 'x64' && !widens.includes(isa) };
}

function readCpuInfo(): CpuInfoFields {
  try {
    return parseCpuInfo(readFileSync('/proc/cpuinfo', 'utf8'));
  } catch {
    return { name: undefined, flags: [], physicalCores: 0 };
  }
}

/** The processor of this machine. */
export function describeCpu(): Cpu {
  const info = readCpuInfo();
  const logicalCores = cpus().length;
  const usable = availableParallelism();
  return {
    name: info.name ?? cpus()[0]?.model.trim() ?? 'unknown',
    logicalCores,
    physicalCores: Math.max(1, Math.min(usable, info.physicalCores || usable)),
    flags: info.flags,
    ...classifyInstructions(info.flags, arch()),
  };
}
