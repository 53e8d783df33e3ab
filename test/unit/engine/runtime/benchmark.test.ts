/** Latency measurement: order statistics, fair turns, and the difference between a small and a large model. */
import { describe, expect, test } from 'vitest';
import { float32Tensor, type Model } from '../../../../services/engine/ir/index.js';
import {
  type BenchmarkSubject,
  isDisturbed,
  measureLatencies,
  measurePairLatencies,
} from '../../../../services/engine/runtime/benchmark.js';
import { createOrtRuntime, type OrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { classifier } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

const feeds = (features: number) => new Map([['x', float32Tensor([1, features], new Float32Array(features).fill(0.5))]]);

describe('measureLatencies', () => {
  test('a model with a thousand times the work is slower, whichever comes first', async () => {
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    const small = { model: classifier({ features: 16, hidden: 16 }), feeds: feeds(16) };
    const large = { model: classifier({ features: 1024, hidden: 1024 }), feeds: feeds(1024) };
    const [a, b] = await measureLatencies(runtime, [small, large], { budgetMs: 200 });
    const [c, d] = await measureLatencies(runtime, [large, small], { budgetMs: 200 });
    expect(a?.median_ms).toBeLessThan(b?.median_ms ?? 0);
    expect(d?.median_ms).toBeLessThan(c?.median_ms ?? 0);
  });

  test('the interval of the ratio says which of two models is slower', async () => {
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    const small = { model: classifier({ features: 16, hidden: 16 }), feeds: feeds(16) };
    const large = { model: classifier({ features: 1024, hidden: 1024 }), feeds: feeds(1024) };
    const { ratio } = await measurePairLatencies(runtime, [large, small], { budgetMs: 1000 });
    expect(ratio.low).toBeGreaterThan(1);
    expect(ratio.high).toBeGreaterThanOrEqual(ratio.low);
  });

  test('sessions are opened anew, so that one that lies badly does not decide', async () => {
    const base = createOrtRuntime({ scratch: await temporaryFolder() });
    const [steady, moody] = [classifier({ features: 16, hidden: 16 }), classifier({ features: 16, hidden: 16 })];
    let openings = 0;
    const runtime: OrtRuntime = {
      ...base,
      async open(model, options) {
        const session = await base.open(model, options);
        const isBad = model === moody && openings++ === 0;
        const forMs = model === steady ? 0.4 : isBad ? 2 : 0.2;
        const prepare = () => async (): Promise<void> => {
          const end = performance.now() + forMs;
          while (performance.now() < end);
        };
        return { ...session, prepare };
      },
    };
    const subject = (model: Model): BenchmarkSubject => ({ model, feeds: feeds(16) });
    const { latencies } = await measurePairLatencies(runtime, [subject(steady), subject(moody)], { budgetMs: 300 });
    expect(openings).toBeGreaterThan(1);
    expect(latencies[1].median_ms).toBeLessThan(latencies[0].median_ms);
  });

  test('order statistics are in order, and each model runs at least five times however short the time', async () => {
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    const [latency] = await measureLatencies(runtime, [{ model: classifier(), feeds: feeds(16) }], { budgetMs: 0 });
    expect(latency?.runs).toBeGreaterThanOrEqual(5);
    expect(latency?.min_ms).toBeGreaterThan(0);
    expect(latency?.median_ms).toBeGreaterThanOrEqual(latency?.min_ms ?? Number.NaN);
    expect(latency?.p90_ms).toBeGreaterThanOrEqual(latency?.median_ms ?? Number.NaN);
  });

  test('an aborted signal ends it', async () => {
    const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
    await expect(measureLatencies(runtime, [{ model: classifier(), feeds: feeds(16) }], { signal: AbortSignal.abort() })).rejects.toThrow(
      'aborted',
    );
  });
});

test('a median far above the fastest run counts as disturbed', () => {
  expect(isDisturbed({ median_ms: 2, min_ms: 1, p90_ms: 3, runs: 9 })).toBe(true);
  expect(isDisturbed({ median_ms: 1.2, min_ms: 1, p90_ms: 3, runs: 9 })).toBe(false);
});
