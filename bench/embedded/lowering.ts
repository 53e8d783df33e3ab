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
const BUDGET = 0.09;
/** Maps that are left as they are count as words, coded or not. */
const WORD = 16;
/** That exponents can be compared at. */
const WIDEST = 15;

export async function loweringSection(bench: Workbench, only: string | undefined): Promise<void> {
  for (const subject of superResolutionModels(dataFolder, only)) {
    for (const profile of shippedProfiles)
      await attempt(bench, { section: 'lowering', subject: subject.name, profile: profile.name }, () => lowered(bench, subject, profile));
  }
}

/** Shares by taking steps away: the artifact without its coded maps, and one without scaling, which is then compared at the widths that it had. */
async function lowered(bench: Workbench, subject: SuperResolutionModel, accelerator: AcceleratorProfile): Promise<void> {
  const model = decodeModelFile(subject.path);
  const test = judgedOn(testPairs(), subject);
  const judge = psnrJudge(bench.runtime, model, { ...judgedOn(judgingPairs(subject), subject), maxDrop: BUDGET });
  const context = { ...benchContext(bench, subject), accelerator, judge };
  const [float, before] = [await psnr(bench.runtime, model, test), await dramEnergy(bench, model, { accelerator, test })];
  let activation_bits: number | undefined;
  for (const steps of ['lowering, compression', 'scaling, lowering, compression'] as const) {
    const started = performance.now();
    const copy = cloneModel(model);
    if (activation_bits !== undefined) await crossLayerScaling(copy, { activation_bits, compressed_maps: true }, context);
    await precisionLowering(copy, { compressed_maps: true }, context);
    activation_bits ??= medianWidth(copy);
    const lowered = 1 - (await dramEnergy(bench, copy, { accelerator, test })) / before;
    /** The bits that coded maps take are measured on the pictures of the test: nothing is chosen by them. */
    await activationCompression(copy, { bits: WORD }, { ...context, calibration: sourceOf(test.all, 'input', test.side) });
    const lost = float - (await psnr(bench.runtime, copy, test));
    const saved = 1 - (await dramEnergy(bench, copy, { accelerator, test })) / before;
    const table = bitTableOf(copy);
    const seconds = (performance.now() - started) / 1000;
    bench.tell({
      ...{ section: 'lowering', subject: subject.name, profile: accelerator.name, steps, lost, saved, lowered, seconds },
      t91_lost: await judge.drop(copy),
      ...table,
    });
    if (steps !== 'scaling, lowering, compression') continue;
    const bound = energySaved(subject.name);
    if (bound) bench.judge(`${subject.name}, ${accelerator.name}`, 'off-chip energy saved', { measured: saved, bound });
    if (bound) bench.judge(`${subject.name}, ${accelerator.name}`, 'dB lost on Set5', { measured: lost, bound: psnrLost });
  }
}

/** Of the maps that are lowered. */
function medianWidth(model: Model): number {
  const bits = Object.values(bitTableOf(model).maps ?? {}).sort((a, b) => a - b);
  return Math.min(WIDEST, bits[Math.floor(bits.length / 2)] ?? WIDEST);
}

/** Picojoules over all pictures. */
async function dramEnergy(
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
