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
import type { MethodContext } from '../../services/engine/method.js';
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

export async function loweringSection(bench: Workbench, only: string | undefined): Promise<void> {
  for (const subject of superResolutionModels(dataFolder, only)) {
    for (const profile of shippedProfiles)
      await attempt(bench, { section: 'lowering', subject: subject.name, profile: profile.name }, () => lowered(bench, subject, profile));
  }
}

/** Shares by taking steps away: lowering alone, with compression, and with scaling before them. */
async function lowered(bench: Workbench, subject: SuperResolutionModel, accelerator: AcceleratorProfile): Promise<void> {
  const model = decodeModelFile(subject.path);
  const test = judgedOn(testPairs(), subject);
  const judge = psnrJudge(bench.runtime, model, { ...judgedOn(judgingPairs(subject), subject), maxDrop: BUDGET });
  const context = { ...benchContext(bench, subject), accelerator, judge };
  const [float, before] = [await psnr(bench.runtime, model, test), await dramEnergy(bench, model, { accelerator, test })];
  for (const steps of ['lowering', 'lowering, compression', 'scaling, lowering, compression'] as const) {
    const started = performance.now();
    const copy = cloneModel(model);
    await take(copy, steps, { context, test });
    const lost = float - (await psnr(bench.runtime, copy, test));
    const saved = 1 - (await dramEnergy(bench, copy, { accelerator, test })) / before;
    const table = bitTableOf(copy);
    const seconds = (performance.now() - started) / 1000;
    bench.tell({
      ...{ section: 'lowering', subject: subject.name, profile: accelerator.name, steps, lost, saved, seconds },
      t91_lost: await judge.drop(copy),
      ...table,
    });
    if (steps !== 'scaling, lowering, compression') continue;
    const bound = energySaved(subject.name);
    if (bound) bench.judge(`${subject.name}, ${accelerator.name}`, 'off-chip energy saved', { measured: saved, bound });
    if (bound) bench.judge(`${subject.name}, ${accelerator.name}`, 'dB lost on Set5', { measured: lost, bound: psnrLost });
  }
}

/** The bits that compressed maps take are measured on the pictures of the test: nothing is chosen by them. */
async function take(model: Model, steps: string, { context, test }: { context: MethodContext; test: Judged }): Promise<void> {
  const compressed_maps = steps.includes('compression');
  if (steps.includes('scaling')) await crossLayerScaling(model, { compressed_maps }, context);
  await precisionLowering(model, { compressed_maps }, context);
  if (compressed_maps) await activationCompression(model, {}, { ...context, calibration: sourceOf(test.all, 'input', test.side) });
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
