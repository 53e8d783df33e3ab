/** Task metrics: counted by hand, and labels that do not fit are refused instead of scored. */
import { describe, expect, test } from 'vitest';
import { MetricsAccumulator } from '../../../../services/engine/evaluation/metrics.js';
import { float32Tensor, int64Tensor, type Tensor } from '../../../../services/engine/ir/index.js';

const outputs = (tensors: Record<string, Tensor>) => new Map(Object.entries(tensors));
const rows = (count: number, real = count) => ({ rows: count, sampleCount: real });

describe('class labels', () => {
  test('top-1 counts the largest score, ties go to the lower class, over several runs', () => {
    const metrics = new MetricsAccumulator();
    metrics.add(outputs({ y: float32Tensor([2, 3], [0, 5, 1, 7, 7, 0]) }), int64Tensor([2], [1, 0]), rows(2));
    metrics.add(outputs({ y: float32Tensor([1, 3], [0, 1, 2]) }), int64Tensor([1], [0]), rows(1));
    expect(metrics.result).toEqual({ top1: 2 / 3, samples: 3 });
  });

  test('top-5 is given from ten classes on', () => {
    const metrics = new MetricsAccumulator();
    const scores = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0];
    metrics.add(outputs({ y: float32Tensor([2, 10], [...scores, ...scores]) }), int64Tensor([2, 1], [4, 5]), rows(2));
    expect(metrics.result).toEqual({ top1: 0, top5: 0.5, samples: 2 });
  });

  test('the last batch of a fixed size counts its real samples only', () => {
    const metrics = new MetricsAccumulator();
    metrics.add(outputs({ y: float32Tensor([3, 2], [0, 1, 0, 1, 0, 1]) }), int64Tensor([1], [1]), rows(3, 1));
    expect(metrics.result).toEqual({ top1: 1, samples: 1 });
  });

  test('features beside the scores and scores with axes of size one are told apart', () => {
    const metrics = new MetricsAccumulator();
    const features = float32Tensor([1, 2, 2, 2], [9, 9, 9, 9, 9, 9, 9, 9]);
    metrics.add(outputs({ features, y: float32Tensor([1, 3, 1, 1], [0, 0, 1]) }), int64Tensor([1], [2]), rows(1));
    expect(metrics.result.top1).toBe(1);
  });

  test('a model that gives the class itself is scored by equality', () => {
    const metrics = new MetricsAccumulator();
    metrics.add(outputs({ c: int64Tensor([3], [4, 5, 6]) }), int64Tensor([3], [4, 0, 6]), rows(3));
    expect(metrics.result).toEqual({ top1: 2 / 3, samples: 3 });
  });

  test('NaN scores are a miss', () => {
    const metrics = new MetricsAccumulator();
    metrics.add(outputs({ y: float32Tensor([1, 2], [Number.NaN, Number.NaN]) }), int64Tensor([1], [1]), rows(1));
    expect(metrics.result.top1).toBe(0);
  });

  test.each([
    ['a label beyond the classes', float32Tensor([1, 2], [0, 1]), int64Tensor([1], [2])],
    ['an output that is an image', float32Tensor([1, 1, 2, 2], [0, 1, 2, 3]), int64Tensor([1], [0])],
    ['several labels for a sample', float32Tensor([1, 2], [0, 1]), int64Tensor([1, 2], [0, 1])],
  ])('%s is refused', (_, output, labels) => {
    expect(() => new MetricsAccumulator().add(outputs({ y: output }), labels, rows(1))).toThrow(
      expect.objectContaining({ code: 'dataset_invalid' }),
    );
  });
});

describe('other labels', () => {
  test('squared and absolute error are means over all elements', () => {
    const metrics = new MetricsAccumulator();
    metrics.add(outputs({ y: float32Tensor([2, 2], [1, 2, 3, 4]) }), float32Tensor([2, 2], [1, 0, 3, 8]), rows(2));
    expect(metrics.result).toEqual({ mse: 20 / 4, mae: 6 / 4, samples: 2 });
  });

  test('of quantiles behind the steps of a forecast the middle one counts, unless another output has the steps alone', () => {
    const quantiles = float32Tensor([2, 2, 3], [0, 1, 9, 0, 2, 9, 0, 3, 9, 0, 4, 9]);
    const labels = float32Tensor([2, 2], [1, 0, 3, 8]);
    const metrics = new MetricsAccumulator();
    metrics.add(outputs({ quantiles }), labels, rows(2));
    expect(metrics.result).toEqual({ mse: 20 / 4, mae: 6 / 4, samples: 2 });
    const exact = new MetricsAccumulator();
    exact.add(outputs({ quantiles, y: labels }), labels, rows(2));
    expect(exact.result.mse).toBe(0);
    const filled = new MetricsAccumulator();
    filled.add(outputs({ quantiles }), float32Tensor([1, 2], [1, 0]), rows(2, 1));
    expect(filled.result).toEqual({ mse: 2, mae: 1, samples: 1 });
  });

  test.each([
    ['an even number', [1, 2, 4], [1, 2]],
    ['scores for numbers without steps', [2, 3], [2]],
  ])('%s of them is no forecast', (_, dims, shape) => {
    const y = float32Tensor(
      dims,
      new Float32Array(8).slice(
        0,
        dims.reduce((a, b) => a * b, 1),
      ),
    );
    const labels = float32Tensor(shape, [0, 0]);
    const add = () => new MetricsAccumulator().add(outputs({ y }), labels, rows(shape[0] ?? 1));
    expect(add).toThrow(expect.objectContaining({ code: 'dataset_invalid' }));
  });

  test('labels of another size than every output are refused', () => {
    expect(() =>
      new MetricsAccumulator().add(outputs({ y: float32Tensor([1, 2], [1, 2]) }), float32Tensor([1, 3], [1, 2, 3]), rows(1)),
    ).toThrow(expect.objectContaining({ code: 'dataset_invalid' }));
  });
});
