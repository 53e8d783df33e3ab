/** Timing two models in turns on a machine where something else takes the processor at times. */
import { afterAll, describe, expect, it } from 'vitest';
import type { Model, Tensor } from '../../../../services/engine/ir/index.js';
import type { MethodContext } from '../../../../services/engine/method.js';
import { timeModels } from '../../../../services/engine/timing/whole-model-timing.js';
import { contextFor, ModelBuilder, noise, removeScratch, runtime } from '../quantization/method-fixtures.js';

afterAll(removeScratch);

function model(): Model {
  const builder = new ModelBuilder();
  return builder.output(builder.node('Relu', [builder.input('x', ['n', 4])])).model;
}

/** Milliseconds of the run with this number, counted over all sessions of the model; `opening` is the number of its session. */
type Law = (run: number, opening: number) => number;

function contextWith(laws: ReadonlyMap<Model, Law>): MethodContext {
  const context = contextFor('measured');
  const counts = new Map([...laws.keys()].map((model) => [model, { runs: 0, openings: 0 }]));
  return {
    ...context,
    sample: new Map([['x', noise([1, 4], 1)]]),
    runtime: {
      ...runtime,
      async open(opened) {
        const law = typeof opened === 'string' ? undefined : laws.get(opened);
        const count = (typeof opened === 'string' ? undefined : counts.get(opened)) ?? { runs: 0, openings: 0 };
        const opening = count.openings++;
        return {
          inputs: [],
          outputs: [],
          async run(): Promise<Map<string, Tensor>> {
            const end = performance.now() + (law?.(count.runs++, opening) ?? 0);
            while (performance.now() < end);
            return new Map();
          },
          async close() {},
        };
      },
    },
  };
}

describe('timeModels', () => {
  it('does not call a model slower whose first rounds were all disturbed', async () => {
    const [before, after] = [model(), model()];
    const laws = new Map<Model, Law>([
      [before, () => 3],
      [after, (run) => (run < 14 ? 6 : 2)],
    ]);
    const timing = await timeModels(before, after, contextWith(laws));
    expect(timing?.after).toBeLessThan(timing?.before ?? 0);
    expect(timing?.ratio?.high).toBeGreaterThan(1);
  });

  it('does not go by one run that was lucky where load falls on both', async () => {
    const [before, after] = [model(), model()];
    const laws = new Map<Model, Law>([
      [before, (run) => (run === 12 ? 2 : 4)],
      [after, () => 3],
    ]);
    const timing = await timeModels(before, after, contextWith(laws));
    expect(timing?.before).toBeLessThan(3);
    expect(timing?.after).toBeLessThan(timing?.before ?? 0);
  });

  it('opens the sessions anew, so that one that lies badly does not decide', async () => {
    const [before, after] = [model(), model()];
    const laws = new Map<Model, Law>([
      [before, (_, opening) => (opening === 0 ? 6 : 2)],
      [after, () => 3],
    ]);
    const timing = await timeModels(before, after, contextWith(laws));
    expect(timing?.after).toBeGreaterThan(timing?.before ?? 0);
  });

  it('knows a model that is slower in every round', async () => {
    const [before, after] = [model(), model()];
    const laws = new Map<Model, Law>([
      [before, () => 2],
      [after, () => 3],
    ]);
    const timing = await timeModels(before, after, contextWith(laws));
    expect(timing?.ratio?.high).toBeLessThan(1);
  });
});
