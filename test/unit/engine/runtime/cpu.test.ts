/** What the processor's features mean for int8, from the texts of real machines. */
import { describe, expect, test } from 'vitest';
import { classifyInstructions, describeCpu, parseCpuInfo } from '../../../../services/engine/runtime/cpu.js';

const block = (processor: number, core: number, flags: string) =>
  `processor\t: ${processor}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7B13\nphysical id\t: 0\ncore id\t\t: ${core}\nflags\t\t: ${flags}\n`;

describe('parseCpuInfo', () => {
  test('counts hyper-threads of one core once and keeps the features that matter', () => {
    const text = [block(0, 0, 'fpu avx avx2 fma'), block(1, 0, 'fpu avx avx2 fma'), block(2, 1, 'fpu avx avx2 fma')].join('\n');
    expect(parseCpuInfo(text)).toEqual({ name: 'AMD EPYC 7B13', flags: ['avx', 'avx2', 'fma'], physicalCores: 2 });
  });

  test('counts every processor of an arm64 machine, which states no core ids', () => {
    const text = [0, 1, 2].map((id) => `processor\t: ${id}\nFeatures\t: fp asimd asimddp i8mm\n`).join('\n');
    expect(parseCpuInfo(text)).toEqual({ name: undefined, flags: ['asimd', 'asimddp', 'i8mm'], physicalCores: 3 });
  });
});

describe('classifyInstructions', () => {
  test.each([
    ['avx avx2 fma', 'x64', 'avx2', true],
    ['avx2 avx512f avx512bw', 'x64', 'avx512', true],
    ['avx2 avx_vnni', 'x64', 'avx-vnni', false],
    ['avx2 avx512bw avx512_vnni', 'x64', 'avx512-vnni', false],
    ['avx2 avx512bw avx512_vnni avx_vnni amx_tile amx_int8', 'x64', 'amx', false],
    ['sse4_1', 'x64', 'x64-baseline', true],
    ['asimd asimddp', 'arm64', 'arm64-dotprod', false],
    ['asimd asimddp i8mm', 'arm64', 'arm64-i8mm', false],
  ])('%s on %s is %s; u8s8 saturates: %s', (flags, architecture, isa, saturates) => {
    expect(classifyInstructions(flags.split(' '), architecture)).toEqual({ isa, u8s8Saturates: saturates });
  });

  test('an x64 system that names no features counts as saturating', () => {
    expect(classifyInstructions([], 'x64')).toEqual({ isa: 'other', u8s8Saturates: true });
  });
});

test('this machine has at least one core, no more physical than logical ones, and a name', () => {
  const cpu = describeCpu();
  expect(cpu.physicalCores).toBeGreaterThanOrEqual(1);
  expect(cpu.physicalCores).toBeLessThanOrEqual(cpu.logicalCores);
  expect(cpu.name).not.toBe('');
});
