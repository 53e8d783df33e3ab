/** Recipes on the command line: presets by name, files by path, every fault by its JSON pointer. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { presets } from '#contracts';
import { readRecipe, recipeFaults } from '../../../services/cli/recipe.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lathe-recipe-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function file(text: string): Promise<string> {
  const path = join(folder, `${Math.random().toString(36).slice(2)}.json`);
  await writeFile(path, text);
  return path;
}

describe('readRecipe', () => {
  it.each(Object.entries(presets))('knows the preset %s', async (name, recipe) => {
    expect(await readRecipe(name)).toEqual(recipe);
  });

  it('reads the same document from a file', async () => {
    const recipe = { steps: [{ method: 'dynamic-int8', per_channel: true }], gate: { max_metric_drop: 0.01 }, target: 'x64' };
    expect(await readRecipe(await file(JSON.stringify(recipe)))).toEqual(recipe);
  });

  it('lists the presets when the name is unknown', async () => {
    await expect(readRecipe('dynamic-int9')).rejects.toThrow(/dynamic-int9.*clean-up, dynamic-int8/);
  });

  it('names the file when it cannot be read', async () => {
    await expect(readRecipe(join(folder, 'nowhere.json'))).rejects.toThrow(/nowhere\.json cannot be read/);
  });

  it('names the file when it is not JSON', async () => {
    const path = await file('{"steps":');
    await expect(readRecipe(path)).rejects.toThrow(`${path} is not JSON`);
  });
});

describe('recipeFaults', () => {
  it.each([
    ['no object', 3, ['']],
    ['no steps', {}, ['']],
    ['empty steps', { steps: [] }, ['/steps']],
    ['an unknown method', { steps: [{ method: 'magic' }] }, ['/steps/0/method']],
    ['an unknown option', { steps: [{ method: 'dynamic-int8', perchannel: true }] }, ['/steps/0/perchannel']],
    [
      'an option of another method',
      { steps: [{ method: 'clean-up' }, { method: 'clean-up', per_channel: true }] },
      ['/steps/1/per_channel'],
    ],
    ['a wrong type', { steps: [{ method: 'dynamic-int8', per_channel: 1 }] }, ['/steps/0/per_channel']],
    ['an unknown field', { steps: [{ method: 'clean-up' }], gates: {} }, ['/gates']],
    ['a negative bound', { steps: [{ method: 'clean-up' }], gate: { max_metric_drop: -1 } }, ['/gate/max_metric_drop']],
    [
      'several faults at once',
      {
        steps: [
          { method: 'float16-storage', min_elements: 0 },
          { method: 'dynamic-int8', exclude: [''] },
        ],
        target: 'gpu',
      },
      ['/steps/0/min_elements', '/steps/1/exclude/0', '/target'],
    ],
    [
      'a loss, an augmentation and an optimizer that do not exist',
      {
        steps: [
          {
            method: 'distill',
            losses: [{ kind: 'kd' }, { kind: 'kl' }],
            augmentation: [{ name: 'flip' }, { name: 'turn' }],
            optimizer: { name: 'adagrad' },
          },
        ],
      },
      ['/steps/0/augmentation/1/name', '/steps/0/losses/1/kind', '/steps/0/optimizer/name'],
    ],
    [
      'options of another loss, augmentation and schedule',
      {
        steps: [
          {
            method: 'fine-tune',
            losses: [
              { kind: 'mse', temperature: 2 },
              { kind: 'attention', layer: 'a' },
            ],
            augmentation: [{ name: 'mixup', alpha: 0 }],
            schedule: { name: 'cosine', at: [0.5] },
          },
        ],
      },
      ['/steps/0/augmentation/0/alpha', '/steps/0/losses/0/temperature', '/steps/0/losses/1/layer', '/steps/0/schedule/at'],
    ],
    [
      'a loss against a teacher where there is none',
      { steps: [{ method: 'train', losses: [{ kind: 'kd' }] }] },
      ['/steps/0/losses/0/kind'],
    ],
  ])('%s: points at what is wrong and at nothing else', (_, document, pointers) => {
    const found = [...new Set(recipeFaults(document).map(({ pointer }) => pointer))].sort();
    expect(found).toEqual(pointers);
  });

  it('names what a loss may be', () => {
    const [fault] = recipeFaults({ steps: [{ method: 'train', losses: [{ kind: 'kl' }] }] });
    expect(fault?.message).toBe('must be one of cross-entropy, binary-cross-entropy, frequency, mse, mae, huber, quantile');
  });

  it.each(Object.entries(presets))('finds nothing in the preset %s', (_, recipe) => {
    expect(recipeFaults(recipe)).toEqual([]);
  });
});
