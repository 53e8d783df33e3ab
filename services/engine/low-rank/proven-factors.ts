/** Keeps factors only when the whole model is faster with them, measured on this machine. */
import { cloneModel, type Model } from '../ir/index.js';
import type { MethodContext } from '../method.js';
import { timeModels } from '../timing/whole-model-timing.js';
import type { Candidate } from './candidates.js';
import type { RankChoices } from './rank-choices.js';
import { writeFactors } from './write-factors.js';

export interface ProvenFactors {
  readonly chosen: ReadonlyMap<string, Candidate>;
  /** Clause for the report that gives the ground. */
  readonly ground: string;
}

/** What single layers win can be lost between them: the whole model must be faster by this much. */
const GAIN_MIN = 1.02;

/** All factors, or those whose kernels were seen to gain, or none. */
export async function proveFaster(
  model: Model,
  { chosen, choices: { untimed, times } }: { readonly chosen: ReadonlyMap<string, Candidate>; readonly choices: RankChoices },
  context: MethodContext,
): Promise<ProvenFactors> {
  if (untimed || chosen.size === 0) return { chosen, ground: untimed ?? 'nothing to time' };
  const timed = new Map([...chosen].filter(([name]) => times.has(name)));
  const seen: string[] = [];
  for (const trial of timed.size === chosen.size || timed.size === 0 ? [chosen] : [chosen, timed]) {
    const copy = cloneModel(model);
    writeFactors(copy, trial);
    const timing = await timeModels(model, copy, context);
    if (!timing) return { chosen, ground: 'the model was not timed as a whole (no inputs are known that it runs with)' };
    const words = `${timing.before.toPrecision(3)} ms before, ${timing.after.toPrecision(3)} ms with ${trial.size} layers in factors`;
    if (timing.before >= GAIN_MIN * timing.after) return { chosen: trial, ground: `the model measured ${words}` };
    seen.push(words);
  }
  return { chosen: new Map(), ground: `the model would not be faster on this processor: ${seen.join('; ')}` };
}
