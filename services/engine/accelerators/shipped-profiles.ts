/**
 * The accelerator profiles that come with Lathe. Energies are those of one published table, so that profiles differ by what they
 * are and not by who measured them: M. Horowitz, "Computing's energy problem", ISSCC 2014 (45 nm, 0.9 V), as tabulated in Han et al.
 * 2015 (arXiv 1506.02626): DRAM 640 pJ per 32 bit; SRAM per 64 bit: 10 pJ of 8 kB, 20 pJ of 32 kB, 100 pJ of 1 MB; an 8-bit integer
 * multiplication 0.2 pJ, a 32-bit one 3.1 pJ (the square of the width within 4 %, which gives the widths between).
 */
import { EngineError } from '../engine-errors.js';
import type { AcceleratorProfile } from './profile.js';

const DRAM_BYTE = 640 / 4;
const SRAM_32KB_BYTE = 20 / 8;
const SRAM_1MB_BYTE = 100 / 8;

/** .2 pJ * (bits / 8)^2 */
const multiplyBySquare = (widths: readonly number[]) => widths.map((bits) => ({ bits, picojoules: 0.2 * (bits / 8) ** 2 }));

const everyWidth = Array.from({ length: 15 }, (_, index) => index + 2);

const eyeriss: AcceleratorProfile = {
  name: 'eyeriss-16',
  title: 'Eyeriss-like array, 16 bit',
  source:
    'Y.-H. Chen et al., JSSC 52(1), 2017: 168 processing elements of 16 bit, each with 224 words for weights; 100 kB of the 108 kB buffer for maps. ISCA 2016: a DRAM access costs 200, a buffer access 6 times a multiplication. Assumed: every map goes through memory.',
  buffers: { weight_bytes: 168 * 224 * 2, map_bytes: 100 * 1024 },
  words: { weights: [16], maps: [16] },
  dataflow: { kind: 'layer-by-layer' },
  picojoules: { dram_byte: DRAM_BYTE, sram_byte: (DRAM_BYTE * 6) / 200, multiply: [{ bits: 16, picojoules: (2 * DRAM_BYTE) / 200 }] },
};

const variablePrecision: AcceleratorProfile = {
  name: 'variable-precision',
  title: 'Variable-precision array, 2 to 16 bit',
  source:
    'In the manner of Stripes (Judd et al., MICRO 2016) and Loom (Sharify et al., DAC 2018), which store and compute each layer in its own width; buffers of 112 kB in all as Bit Fusion (Sharma et al., ISCA 2018). Assumed: half of them for weights.',
  buffers: { weight_bytes: 56 * 1024, map_bytes: 56 * 1024 },
  words: { weights: everyWidth, maps: everyWidth },
  dataflow: { kind: 'tiles' },
  picojoules: { dram_byte: DRAM_BYTE, sram_byte: SRAM_32KB_BYTE, multiply: multiplyBySquare(everyWidth) },
};

const ethos: AcceleratorProfile = {
  name: 'ethos-u',
  title: 'Ethos-U-like NPU, int8 weights',
  source:
    'Arm Ethos-U55 with 256 multipliers: 48 banks of 1 kB of shared buffer (Vela compiler, architecture_features.py), 8-bit weights, 8- or 16-bit maps, layers cascaded in stripes. Assumed: a third of the buffer for weights, no further SRAM of the system.',
  buffers: { weight_bytes: 16 * 1024, map_bytes: 32 * 1024 },
  words: { weights: [8], maps: [8, 16] },
  dataflow: { kind: 'fused-rows' },
  picojoules: { dram_byte: DRAM_BYTE, sram_byte: SRAM_32KB_BYTE, multiply: multiplyBySquare([8, 16]) },
};

const dpu: AcceleratorProfile = {
  name: 'dpu-pow2',
  title: 'Power-of-two DPU, int8',
  source:
    'AMD DPUCZDX8G B4096 (UG1414: 8 banks of depth 2048 and 16 channels of 8 bit, 256 kB for maps), 8-bit codes with one power-of-two scale per tensor. Assumed: as much again for weights.',
  buffers: { weight_bytes: 256 * 1024, map_bytes: 8 * 2048 * 16 },
  words: { weights: [8], maps: [8] },
  scales: 'powers-of-two',
  dataflow: { kind: 'tiles' },
  picojoules: { dram_byte: DRAM_BYTE, sram_byte: SRAM_32KB_BYTE, multiply: multiplyBySquare([8]) },
};

const microcontroller: AcceleratorProfile = {
  name: 'microcontroller',
  title: 'Cortex-M7 microcontroller with external memory',
  source:
    'STM32F746 as in MCUNet (Lin et al., NeurIPS 2020): 320 kB of SRAM; CMSIS-NN kernels with 4- or 8-bit weights and 8- or 16-bit maps, which multiply in 16 bit. Assumed: 256 kB for maps and 32 kB for weights; weights and what does not fit lie in external memory at the price of DRAM.',
  buffers: { weight_bytes: 32 * 1024, map_bytes: 256 * 1024 },
  words: { weights: [4, 8], maps: [8, 16] },
  dataflow: { kind: 'layer-by-layer', keeps_maps: true },
  picojoules: { dram_byte: DRAM_BYTE, sram_byte: SRAM_1MB_BYTE, multiply: multiplyBySquare([16]) },
};

export const shippedProfiles: readonly AcceleratorProfile[] = [eyeriss, variablePrecision, ethos, dpu, microcontroller];

/** The shipped profile of this name. Throws EngineError `recipe_invalid`. */
export function shippedProfile(name: string): AcceleratorProfile {
  const found = shippedProfiles.find((profile) => profile.name === name);
  if (found) return found;
  const names = shippedProfiles.map((profile) => profile.name).join(', ');
  throw new EngineError('recipe_invalid', `There is no accelerator "${name}". Name one of ${names}, or give a profile of your own.`);
}
