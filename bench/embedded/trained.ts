/**
 * One recipe from network to codes: pruned, taught on patches of T91, lowered to fixed widths with training, coded. Everything is chosen on
 * T91; Set5 is what it is reported on. The first half does not depend on the profile and is run once; the second one depends on it by the
 * scales that it allows, and is run once for each kind.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AcceleratorProfile, BIT_TABLE_KEY, bitTableOf } from '../../services/engine/accelerators/index.js';
import { activationCompression } from '../../services/engine/activation-compression/index.js';
import { type CompressionPlan, type CompressionReport, type CompressionStep, compress } from '../../services/engine/index.js';
import type { Model } from '../../services/engine/ir/index.js';
import { decodeModelFile } from '../../services/engine/onnx/index.js';
import { dataFolder } from '../quantization/subjects.js';
import { attempt, THREADS, type Workbench } from '../quantization/workbench.js';
import { chosenProfiles, chosenScalings, dramEnergy, type LoweringChoice, T91_LOSS, WORD } from './lowering.js';
import { benchContext, type Judged, type Pair, pairs, psnr, sourceOf, testPairs } from './luma-pairs.js';
import { writePatches, writePictures } from './luma-patches.js';
import { type SuperResolutionModel, superResolutionModels } from './superres-models.js';
import { energySaved, psnrLost } from './thresholds.js';

const PATCHES = { side: 32, stride: 16 } as const;
/** One in this many pictures of T91 is not taught: recipes are chosen by these. */
const HELD_STEP = 6;
const BORDER = 3;
const losses = [{ kind: 'mse', border: BORDER }] as const;

interface TaughtRecipe {
  readonly narrower: readonly CompressionStep[];
  /** Bits of the maps between the layers. */
  readonly activation_bits: number;
}

/** The thin maps of fsrcnn_x3 hold all that it knows of the picture: they keep their channels. */
const recipes: Readonly<Record<string, TaughtRecipe>> = {
  fsrcnn_x3: {
    narrower: [
      {
        method: 'structured-pruning',
        ...{ budget: { macs: 0.57 }, ranking: 'per-layer', round_to: 1 },
        exclude: ['/c/c.2/Conv', '/c/c.4/Conv', '/c/c.6/Conv', '/c/c.8/Conv'],
      },
      { method: 'train', epochs: 32, batch_size: 8, learning_rate: 0.003, optimizer: { name: 'adam' }, losses },
    ],
    activation_bits: 7,
  },
};

function loweringSteps({ activation_bits }: TaughtRecipe, isScaled: boolean): CompressionStep[] {
  const recovery = { epochs: 16, batch_size: 8, learning_rate: 0.002, losses };
  return [
    ...(isScaled ? [{ method: 'cross-layer-scaling', activation_bits } as const] : []),
    { method: 'precision-lowering', activation_bits, weight_bits: 8, recovery },
    { method: 'activation-compression', bits: WORD },
  ];
}

interface Data {
  readonly patches: string;
  readonly held: string;
  readonly test: Judged;
}

export async function trainedSection(bench: Workbench, choice: LoweringChoice): Promise<void> {
  const all = pairs(join(dataFolder, 'superres/T91'));
  const isHeld = (_: Pair, at: number): boolean => at % HELD_STEP === 1;
  const taught = all.filter((pair, at) => !isHeld(pair, at));
  const data = {
    patches: await writePatches(join(bench.folder, 'samples/t91-taught.npz'), taught, PATCHES),
    held: await writePictures(join(bench.folder, 'samples/t91-held.npz'), all.filter(isHeld)),
    test: { all: testPairs() },
  };
  for (const subject of superResolutionModels(dataFolder, choice.only)) {
    const recipe = recipes[subject.name];
    if (!recipe) continue;
    await attempt(bench, { section: 'trained', subject: subject.name }, () =>
      new TaughtNetwork(bench, { subject, recipe, data }).run(choice),
    );
  }
}

interface Made {
  readonly path: string;
  readonly report: CompressionReport;
}

interface Subject {
  readonly subject: SuperResolutionModel;
  readonly recipe: TaughtRecipe;
  readonly data: Data;
}

class TaughtNetwork {
  private readonly artifacts = new Map<string, Promise<Made>>();

  constructor(
    private readonly bench: Workbench,
    private readonly about: Subject,
  ) {}

  async run(choice: LoweringChoice): Promise<void> {
    const { subject, recipe } = this.about;
    const student = await this.made('student', { model: subject.path, plan: { steps: recipe.narrower } });
    for (const isScaled of chosenScalings(choice))
      for (const accelerator of chosenProfiles(choice))
        await attempt(this.bench, { section: 'trained', subject: subject.name, profile: accelerator.name, scaled: isScaled }, () =>
          this.lowered(student, { accelerator, isScaled }),
        );
  }

  /** Energy against the network as it came, in 16 bits and not coded; the bits that coded maps take are measured on the pictures of the test. */
  private async lowered(student: Made, { accelerator, isScaled }: { accelerator: AcceleratorProfile; isScaled: boolean }): Promise<void> {
    const { bench } = this;
    const { subject, recipe, data } = this.about;
    const name = `${isScaled ? 'scaled' : 'plain'}-${accelerator.scales ?? 'any'}`;
    /** Against the network as it came: what teaching gained may be spent, and what a search for widths may. */
    const max_metric_drop = T91_LOSS + Math.max(0, held(student, 'artifact') - held(student, 'source'));
    const plan = { steps: loweringSteps(recipe, isScaled), gate: { metric: 'psnr', max_metric_drop } } as const;
    const { path, report } = await this.made(name, { model: student.path, plan, accelerator });
    const how = { accelerator, test: data.test };
    const before = await dramEnergy(bench, decodeModelFile(subject.path), how);
    const saved = async (model: Model): Promise<number> => 1 - (await dramEnergy(bench, model, how)) / before;
    const coded = decodeModelFile(path);
    const context = { ...benchContext(bench, subject), accelerator, calibration: sourceOf(data.test.all, 'input') };
    await activationCompression(coded, { bits: WORD }, context);
    const float = await psnr(bench.runtime, subject.path, data.test);
    const lossOf = async (model: string): Promise<number> => float - (await psnr(bench.runtime, model, data.test));
    const [lost, all] = [await lossOf(path), await saved(coded)];
    bench.tell({
      ...{ section: 'trained', subject: subject.name, profile: accelerator.name, scaled: isScaled, saved: all, lost },
      ...{ pruned: await saved(decodeModelFile(student.path)), lowered: await saved(uncoded(path)) },
      ...{ t91_lost: held(student, 'source') - held({ report }, 'artifact'), student_lost: await lossOf(student.path) },
      ...{ student_t91_lost: held(student, 'source') - held(student, 'artifact'), seconds: report.seconds, ...bitTableOf(coded) },
    });
    const title = `${subject.name}, ${accelerator.name}, taught${isScaled ? ', scaled' : ''}`;
    const bound = energySaved(subject.name);
    if (bound) bench.judge(title, 'off-chip energy saved', { measured: all, bound });
    bench.judge(title, 'dB lost on Set5', { measured: lost, bound: psnrLost });
  }

  /** As a job makes it; each artifact once, and not again in a folder that has it. */
  private made(
    name: string,
    how: { model: string; plan: Pick<CompressionPlan, 'steps' | 'gate'>; accelerator?: AcceleratorProfile },
  ): Promise<Made> {
    const known = this.artifacts.get(name);
    if (known) return known;
    const making = this.make(name, how);
    this.artifacts.set(name, making);
    return making;
  }

  private async make(
    name: string,
    { model, plan, accelerator }: { model: string; plan: Pick<CompressionPlan, 'steps' | 'gate'>; accelerator?: AcceleratorProfile },
  ): Promise<Made> {
    const { subject, data } = this.about;
    const [outDir, scratch] = ['artifacts', 'scratch'].map((kind) => join(this.bench.folder, kind, `${subject.name}-${name}`)) as [
      string,
      string,
    ];
    const [made, reported] = ['model.onnx', 'report.json'].map((file) => join(outDir, file)) as [string, string];
    if (existsSync(made) && existsSync(reported)) return { path: made, report: JSON.parse(readFileSync(reported, 'utf8')) };
    mkdirSync(scratch, { recursive: true });
    const target = accelerator ? { target: { accelerator } } : {};
    const whole = { ...plan, ...target, objective: 'size', evaluation: { image: { border: BORDER } } } as const;
    const samples = { calibration: data.patches, evaluation: data.held };
    const { report, modelFiles } = await compress({ modelPath: model, plan: whole, ...samples, outDir, scratch, threads: THREADS });
    return { report, path: modelFiles[0] ?? made };
  }
}

const held = ({ report }: Pick<Made, 'report'>, which: 'source' | 'artifact'): number => report[which].metrics?.psnr ?? Number.NaN;

/** As if what is coded were not. */
function uncoded(path: string): Model {
  const model = decodeModelFile(path);
  model.metadata.set(BIT_TABLE_KEY, JSON.stringify({ ...bitTableOf(model), compressed: {} }));
  return model;
}
