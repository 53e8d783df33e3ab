/** PSNR and SSIM: closed forms, the definition summed window by window, borders, luma, and what is refused. */
import { describe, expect, test } from 'vitest';
import { ImageQuality, type Picture, psnr, ssim } from '../../../../services/engine/evaluation/image-quality.js';
import { MetricsAccumulator } from '../../../../services/engine/evaluation/metrics.js';
import { float32Tensor } from '../../../../services/engine/ir/index.js';

const picture = (rows: number, columns: number, value: (row: number, column: number) => number): Picture => ({
  ...{ rows, columns },
  channels: [Float64Array.from({ length: rows * columns }, (_, at) => value(Math.floor(at / columns), at % columns))],
});
const waves = (phase: number) => (row: number, column: number) => 0.5 + 0.4 * Math.sin(0.7 * row + phase) * Math.cos(0.4 * column);

/** The definition, one window after the other. */
function slowSsim(a: Picture, b: Picture, peak: number): number {
  const window = Array.from({ length: 121 }, (_, at) =>
    Math.exp(-((Math.floor(at / 11) - 5) ** 2 + ((at % 11) - 5) ** 2) / (2 * 1.5 ** 2)),
  );
  const total = window.reduce((sum, weight) => sum + weight, 0);
  const [x = [], y = []] = [a.channels[0], b.channels[0]];
  const values: number[] = [];
  for (let top = 0; top + 11 <= a.rows; top++) {
    for (let left = 0; left + 11 <= a.columns; left++) {
      const mean = (value: (at: number) => number): number =>
        window.reduce((sum, weight, at) => sum + (weight / total) * value((top + Math.floor(at / 11)) * a.columns + left + (at % 11)), 0);
      const [mx, my] = [mean((at) => x[at] ?? 0), mean((at) => y[at] ?? 0)];
      const vx = mean((at) => ((x[at] ?? 0) - mx) ** 2);
      const vy = mean((at) => ((y[at] ?? 0) - my) ** 2);
      const cov = mean((at) => ((x[at] ?? 0) - mx) * ((y[at] ?? 0) - my));
      const [c1, c2] = [(0.01 * peak) ** 2, (0.03 * peak) ** 2];
      values.push(((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2)));
    }
  }
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

describe('psnr', () => {
  test('of an even difference d is 20 log10(peak / d); of equal pictures 100', () => {
    const a = picture(4, 5, waves(0));
    const b = picture(4, 5, (row, column) => waves(0)(row, column) + 0.01);
    expect(psnr(a, b, 1)).toBeCloseTo(40, 9);
    expect(psnr(a, b, 255)).toBeCloseTo(40 + 20 * Math.log10(255), 9);
    expect(psnr(a, a, 1)).toBe(100);
  });
});

describe('ssim', () => {
  test.each([1, 255])('is the definition, window by window, for white %i', (peak) => {
    const scaled = (phase: number) => picture(17, 13, (row, column) => peak * waves(phase)(row, column));
    expect(ssim(scaled(0), scaled(0.6), peak)).toBeCloseTo(slowSsim(scaled(0), scaled(0.6), peak), 9);
    expect(ssim(scaled(0), scaled(0), peak)).toBeCloseTo(1, 12);
  });

  test('a picture without a window has none', () => {
    expect(ssim(picture(10, 30, waves(0)), picture(10, 30, waves(1)), 1)).toBeNull();
  });
});

describe('ImageQuality', () => {
  const tensor = (dims: readonly number[], value: (at: number) => number) =>
    float32Tensor(
      dims,
      Array.from({ length: dims.reduce((product, size) => product * size, 1) }, (_, at) => value(at)),
    );
  const added = (options: ConstructorParameters<typeof ImageQuality>[0], dims: readonly number[], of: (at: number) => [number, number]) => {
    const quality = new ImageQuality(options);
    const count = dims.reduce((product, size) => product * size, 1);
    const pairs = Array.from({ length: count }, (_, at) => of(at));
    quality.add(
      tensor(dims, () => 0),
      { actual: pairs.map(([a]) => a), expected: pairs.map(([, b]) => b), samples: dims[0] ?? 1 },
    );
    return quality.result;
  };

  test('is the mean over pictures, not the ratio of the mean error', () => {
    const { psnr: mean } = added({}, [2, 1, 4, 4], (at) => [0.5, at < 16 ? 0.6 : 0.501]);
    expect(mean).toBeCloseTo((20 + 60) / 2, 9);
  });

  test('leaves the border out and clips to white', () => {
    const inside = (at: number): boolean => {
      const [row, column] = [Math.floor(at / 7), at % 7];
      return row >= 2 && row < 5 && column >= 2 && column < 5;
    };
    expect(added({ border: 2 }, [1, 1, 7, 7], (at) => [inside(at) ? 0.1 : 0.9, 0]).psnr).toBeCloseTo(20, 9);
    expect(added({}, [1, 1, 2, 2], () => [7, 0.9]).psnr).toBeCloseTo(20, 9);
  });

  test('weighs R, G and B as BT.601 does', () => {
    const { psnr: green } = added({ luma: true }, [1, 3, 2, 2], (at) => [at >= 4 && at < 8 ? 0.1 : 0, 0]);
    expect(green).toBeCloseTo(20 * Math.log10(255 / 12.8553), 9);
  });

  test('refuses what is no picture, and a border that leaves nothing', () => {
    expect(() => added({}, [1, 8], () => [0, 0])).toThrow(/compare pictures/);
    expect(() => added({ border: 4 }, [1, 1, 8, 9], () => [0, 0])).toThrow(/leaves nothing of a picture of 8 x 9/);
  });

  test('metrics have it when it was asked for, over runs of pictures of different sizes', () => {
    const run = (metrics: MetricsAccumulator, size: number, error: number): void => {
      const outputs = new Map([['y', tensor([1, 1, size, size], () => 0.5 + error)]]);
      metrics.add(
        outputs,
        tensor([1, 1, size, size], () => 0.5),
        { rows: 1, sampleCount: 1 },
      );
    };
    const [plain, asked] = [new MetricsAccumulator(), new MetricsAccumulator({ image: {} })];
    for (const metrics of [plain, asked]) {
      run(metrics, 12, 0.1);
      run(metrics, 20, 0.01);
    }
    expect(plain.result).not.toHaveProperty('psnr');
    expect(asked.result.psnr).toBeCloseTo(30, 4);
    expect(asked.result.ssim).toBeGreaterThan(0.9);
  });
});
