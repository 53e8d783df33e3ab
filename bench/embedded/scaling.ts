/** Cross-layer scaling: the model stays as it is, and loses less in few bits. */
import { cloneModel } from '../../services/engine/ir/index.js';
import { decodeModelFile } from '../../services/engine/onnx/index.js';
import { crossLayerScaling, precisionLowering } from '../../services/engine/precision/index.js';
import { dataFolder } from '../quantization/subjects.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { benchContext, judgedOn, largestDifference, psnr, testPairs } from './luma-pairs.js';
import { type SuperResolutionModel, superResolutionModels } from './superres-models.js';
import { equalOutputs, fewBitsPsnr, floatPsnr } from './thresholds.js';

const WIDTHS = [
  { activation_bits: 4, weight_bits: 8 },
  { activation_bits: 5, weight_bits: 5 },
] as const;

export async function scalingSection(bench: Workbench, only: string | undefined): Promise<void> {
  for (const subject of superResolutionModels(dataFolder, only))
    await attempt(bench, { section: 'scaling', subject: subject.name }, () => scaledInFewBits(bench, subject));
}

async function scaledInFewBits(bench: Workbench, subject: SuperResolutionModel): Promise<void> {
  const model = decodeModelFile(subject.path);
  const test = judgedOn(testPairs(), subject);
  const float = await psnr(bench.runtime, model, test);
  bench.tell({ section: 'scaling', subject: subject.name, psnr: float });
  bench.judge(subject.name, 'PSNR of the float model', { measured: float, bound: floatPsnr(subject.name) });
  for (const widths of WIDTHS) {
    for (const scaling of [false, true]) {
      const copy = cloneModel(model);
      const context = benchContext(bench, subject);
      const scaled = scaling ? await crossLayerScaling(copy, widths, context) : undefined;
      const difference = scaling ? await largestDifference(bench.runtime, { before: model, after: copy }, test) : null;
      await precisionLowering(copy, widths, context);
      const found = await psnr(bench.runtime, copy, test);
      const exponent = scaled?.nodes[0]?.reason.match(/exponent ([\d.]+)/)?.[1] ?? null;
      bench.tell({ section: 'scaling', subject: subject.name, ...widths, scaling, exponent, difference, psnr: found });
      const what = `${widths.activation_bits} bit maps, ${widths.weight_bits} bit weights`;
      if (!scaling) continue;
      bench.judge(subject.name, 'largest difference of outputs', { measured: difference, bound: equalOutputs });
      const bound = fewBitsPsnr(subject.name, widths);
      if (bound) bench.judge(subject.name, `PSNR, ${what}`, { measured: found, bound });
    }
  }
}
