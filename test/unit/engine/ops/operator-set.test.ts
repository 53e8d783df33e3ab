/** What the engine believes about operators. */
import { describe, expect, test } from 'vitest';
import { attributeOf, Graph, Node, Value } from '../../../../services/engine/ir/index.js';
import {
  isControlFlow,
  isDataMovement,
  isDeterministic,
  isElementwise,
  onnxOperators,
  operatorTraits,
} from '../../../../services/engine/ops/index.js';

const node = (opType: string, domain = '', inputs: readonly (Value | null)[] = []) =>
  new Node({ opType, domain, inputs, outputs: [new Value('y')] });

describe('determinism', () => {
  test('no operator that draws random numbers may be merged or folded', () => {
    for (const op of ['Bernoulli', 'Multinomial', 'RandomNormal', 'RandomNormalLike', 'RandomUniform', 'RandomUniformLike']) {
      expect(isDeterministic(node(op))).toBe(false);
    }
    expect(isDeterministic(node('Sampling', 'com.microsoft'))).toBe(false);
  });

  test('Dropout draws only when it is told to train', () => {
    expect(isDeterministic(node('Dropout', '', [new Value('x')]))).toBe(true);
    expect(isDeterministic(node('Dropout', '', [new Value('x'), null, new Value('training')]))).toBe(false);
  });

  test('an operator nobody knows may do anything', () => {
    expect(isDeterministic(node('Custom', 'acme'))).toBe(false);
    expect(isDeterministic(node('RequantShift'))).toBe(false);
  });

  test('control flow is as deterministic as what it holds', () => {
    const branch = (opType: string) => {
      const graph = new Graph(opType);
      graph.append(node(opType));
      return new Node({ opType: 'If', inputs: [], outputs: [], attributes: { then_branch: attributeOf.graph(graph) } });
    };
    expect(isDeterministic(branch('Relu'))).toBe(true);
    expect(isDeterministic(branch('RandomNormal'))).toBe(false);
  });
});

test('categories', () => {
  expect([node('Add'), node('Reshape'), node('Conv')].map(isElementwise)).toEqual([true, false, false]);
  expect([node('Add'), node('Reshape'), node('Conv')].map(isDataMovement)).toEqual([false, true, false]);
  expect(['If', 'Loop', 'Scan', 'Add'].map((op) => isControlFlow(node(op)))).toEqual([true, true, true, false]);
  expect(operatorTraits('com.microsoft', 'FusedMatMul')?.category).toBe('linear');
  expect(operatorTraits('acme', 'Conv')).toBeUndefined();
});

test('the list is whole: the 200 operators of ai.onnx 26 and the one onnxruntime adds', () => {
  expect(Object.keys(onnxOperators)).toHaveLength(201);
  for (const { since } of Object.values(onnxOperators)) expect(since).toBeLessThanOrEqual(26);
  expect(onnxOperators.Attention.since).toBe(23);
  expect(onnxOperators.Gelu.since).toBe(20);
});
