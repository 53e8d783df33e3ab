/** Off-chip energy of super-resolution on every profile: what scaling, lowering and compression each take off. Widths are chosen on T91, figures are of Set5. */

import {
  type AcceleratorProfile,
  bitTableOf,
  networkLayers,
  offChipTraffic,
  shippedProfiles,
  widthsOf,
} from '../../services/engine/accelerators/index.js';
import { activationCompression } from '../../services/engine/activation-compression/index.js';
import { cloneModel, type Model } from '../../services/engine/ir/index.js';
import { decodeModelFile } from '../../services/engine/onnx/index.js';
import { crossLayerScaling, precisionLowering } from '../../services/engine/precision/index.js';
import { observeShapes } from '../../services/engine/runtime/observe-shapes.js';
import { dataFolder } from '../quantization/subjects.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { benchContext, type Judged, judgedOn, judgingPairs, psnr, psnrJudge, sourceOf, testPairs } from './luma-pairs.js';
import { type SuperResolutionModel, superResolutionModels } from './superres-models.js';
import { energySaved, psnrLost } from './thresholds.js';

/** Of PSNR on pictures of T91; the rest of the 0.10 dB is for what Set5 has that T91 does not. */
export const T91_LOSS = 0.09;
/** Maps that are left as they are count as words, coded or not. */
export const WORD = 16;
/** That exponents can be compared at. */
const WIDEST = 15;
/** At which they are, where no widths were found before. */
const SCALING_BITS = 7;

export interface LoweringChoice {
  /** Names with commas between; default all. */
  readonly only?: string | undefined;
  readonly profiles?: string | undefined;
  /** Default both. */
  readonly scaling?: 'with' | 'without' | undefined;
}

export const chosenProfiles = ({ profiles }: LoweringChoice): readonly AcceleratorProfile[] =>
  shippedProfiles.filter(({ name }) => profiles === undefined || profiles.split(',').includes(name));

/** Whether channels are scaled first, for each way that is wanted. */
export const chosenScalings = ({ scaling }: LoweringChoice): readonly boolean[] =>
  scaling === undefined ? [false, true] : [scaling === 'with'];

export async function loweringSection(bench: Workbench, choice: LoweringChoice): Promise<void> {
  for (const subject of superResolutionModels(dataFolder, choice.only))
    for (const accelerator of chosenProfiles(choice))
      await attempt(bench, { section: 'lowering', subject: subject.name, profile: accelerator.name }, () =>
        lowered(bench, subject, { accelerator, scalings: chosenScalings(choice) }),
      );
}

interface Lowering {
  readonly accelerator: AcceleratorProfile;
  readonly scalings: readonly boolean[];
}

/** Shares by taking steps away: the artifact without its coded maps, and one without scaling, which is compared at the widths found before. */
async function lowered(bench: Workbench, subject: SuperResolutionModel, { accelerator, scalings }: Lowering): Promise<void> {
  const model = decodeModelFile(subject.path);
  const test = judgedOn(testPairs(), subject);
  const judge = psnrJudge(bench.runtime, model, { ...judgedOn(judgingPairs(subject), subject), maxDrop: T91_LOSS });
  const context = { ...benchContext(bench, subject), accelerator, judge };
  const [float, before] = [await psnr(bench.runtime, model, test), await dramEnergy(bench, model, { accelerator, test })];
  let activation_bits: number | undefined;
  for (const isScaled of scalings) {
    const started = performance.now();
    const copy = cloneModel(model);
    if (isScaled) await crossLayerScaling(copy, { activation_bits: activation_bits ?? SCALING_BITS, compressed_maps: true }, context);
    await precisionLowering(copy, { compressed_maps: true }, context);
    activation_bits ??= medianWidth(copy);
    const plain = 1 - (await dramEnergy(bench, copy, { accelerator, test })) / before;
    /** The bits that coded maps take are measured on the pictures of the test: nothing is chosen by them. */
    await activationCompression(copy, { bits: WORD }, { ...context, calibration: sourceOf(test.all, 'input', test.side) });
    const lost = float - (await psnr(bench.runtime, copy, test));
    const saved = 1 - (await dramEnergy(bench, copy, { accelerator, test })) / before;
    const steps = `${isScaled ? 'scaling, ' : ''}lowering, compression`;
    bench.tell({
      ...{ section: 'lowering', subject: subject.name, profile: accelerator.name, steps, lost, saved, lowered: plain },
      ...{ seconds: (performance.now() - started) / 1000, t91_lost: await judge.drop(copy), ...bitTableOf(copy) },
    });
    const bound = energySaved(subject.name);
    const name = `${subject.name}, ${accelerator.name}, ${steps}`;
    if (bound) bench.judge(name, 'off-chip energy saved', { measured: saved, bound });
    if (bound) bench.judge(name, 'dB lost on Set5', { measured: lost, bound: psnrLost });
  }
}

/** Of the maps that are lowered. */
function medianWidth(model: Model): number {
  const bits = Object.values(bitTableOf(model).maps ?? {}).sort((a, b) => a - b);
  return Math.min(WIDEST, bits[Math.floor(bits.length / 2)] ?? WIDEST);
}

/** Picojoules over all pictures. */
export async function dramEnergy(
  { runtime }: Workbench,
  model: Model,
  { accelerator, test }: { accelerator: AcceleratorProfile; test: Judged },
): Promise<number> {
  let energy = 0;
  for await (const { feeds } of sourceOf(test.all, 'input', test.side).runs(1)) {
    const { shapes } = await observeShapes(runtime, { model, feeds });
    energy += offChipTraffic(networkLayers(model, shapes), accelerator, widthsOf(model)).total.dram_picojoules;
  }
  return energy;
}
