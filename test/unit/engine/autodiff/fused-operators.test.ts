/** onnxruntime's own operators and Einsum against central differences. */
import { describe, expect, test } from 'vitest';
import { microsoftRules } from '../../../../services/engine/autodiff/rules/microsoft.js';
import { type Attribute, attributeOf, type Model } from '../../../../services/engine/ir/index.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

interface Case {
  readonly opType: string;
  readonly domain?: string;
  readonly operands: readonly (readonly number[])[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

function modelOf({ opType, domain = '', operands, attributes = {} }: Case): Model {
  const names = operands.map((_, at) => `x${at}`);
  return buildModel({
    inputs: operands.map((shape, at) => ({ name: `x${at}`, shape })),
    outputs: [{ name: 'y', shape: null }],
    nodes: [{ opType, domain, inputs: names, outputs: ['y'], attributes }],
  });
}

async function check(each: Case): Promise<void> {
  for (const seed of [1, 2]) {
    const feeds = Object.fromEntries(each.operands.map((dims, at) => [`x${at}`, weights(dims, 10 * seed + at)]));
    const checked = await checkGradients({ model: modelOf(each), feeds, seed });
    expect(checked).toHaveLength(each.operands.length);
    for (const { error, largest } of checked) {
      expect(largest).toBeGreaterThan(0.02);
      expect(error).toBeLessThan(2e-3);
    }
  }
}

const refusal = (each: Case): Promise<unknown> =>
  checkGradients({ model: modelOf(each), feeds: Object.fromEntries(each.operands.map((dims, at) => [`x${at}`, weights(dims, at)])) });

const domain = 'com.microsoft';
const yes = attributeOf.int(1);

describe('FusedMatMul', () => {
  const product = (a: readonly number[], b: readonly number[], attributes: Readonly<Record<string, Attribute>> = {}): Case => ({
    ...{ opType: 'FusedMatMul', domain, operands: [a, b] },
    attributes: { alpha: attributeOf.float(0.7), ...attributes },
  });
  test.each([
    product([3, 4], [4, 5]),
    product([4, 3], [4, 5], { transA: yes }),
    product([3, 4], [5, 4], { transB: yes }),
    product([4, 3], [5, 4], { transA: yes, transB: yes }),
    product([2, 3, 4], [2, 4, 5]),
    product([2, 4, 3], [4, 5], { transA: yes }),
    product([3, 4], [2, 5, 4], { transB: yes }),
    product([2, 1, 4, 3], [3, 5, 4], { transA: yes, transB: yes }),
  ])('of $operands with $attributes', check);

  test('batch axes inside the matrix are refused by name', async () => {
    await expect(refusal(product([3, 2, 4], [2, 4, 5], { transBatchA: yes }))).rejects.toThrow(
      'FusedMatMul (node "y") has no gradient here',
    );
  });
});

describe('activations', () => {
  test.each([
    { opType: 'Gelu', domain, operands: [[3, 4]] },
    { opType: 'FastGelu', domain, operands: [[3, 4]] },
    { opType: 'FastGelu', domain, operands: [[2, 3, 4], [4]] },
    { opType: 'BiasGelu', domain, operands: [[2, 3, 4], [4]] },
    { opType: 'QuickGelu', domain, operands: [[3, 4]] },
    { opType: 'QuickGelu', domain, operands: [[3, 4]], attributes: { alpha: attributeOf.float(1) } },
  ] satisfies Case[])('$opType of $operands', check);

  test('every rule is tested here', () => {
    expect(Object.keys(microsoftRules).sort()).toEqual(['BiasGelu', 'FastGelu', 'FusedMatMul', 'Gelu', 'QuickGelu']);
  });

  test('a fused convolution is refused by name', async () => {
    const attributes = { activation: attributeOf.string('Relu') };
    const fused = {
      opType: 'FusedConv',
      domain,
      operands: [
        [1, 2, 5, 5],
        [3, 2, 3, 3],
      ],
      attributes,
    };
    await expect(refusal(fused)).rejects.toThrow('FusedConv (node "y") has no gradient rule');
  });
});

describe('Einsum', () => {
  const of = (equation: string, ...operands: (readonly number[])[]): Case => ({
    ...{ opType: 'Einsum', operands, attributes: { equation: attributeOf.string(equation) } },
  });
  test.each([
    of('ij,jk->ik', [2, 3], [3, 4]),
    of('ij,jk', [2, 3], [3, 4]),
    of('bhid, bhjd -> bhij', [2, 2, 3, 4], [2, 2, 5, 4]),
    of('bhij,bhjd->bihd', [2, 2, 3, 5], [2, 2, 5, 4]),
    of('i,j->ji', [3], [4]),
    of('ij,j->i', [2, 3], [3]),
    of('ijk,jk->i', [2, 3, 4], [3, 4]),
    of('ij->ji', [2, 3]),
    of('ij->j', [2, 3]),
    of('ij,kl->il', [2, 3], [4, 5]),
    of('ab,bc,cd->ad', [2, 3], [3, 4], [4, 2]),
    of('ij,ij->', [2, 3], [2, 3]),
  ])('$attributes.equation.value of $operands', check);

  test('an axis of size 1 is repeated', () => check(of('ij,ij->i', [2, 1], [2, 3])));

  test('a diagonal is refused by name', async () => {
    await expect(refusal(of('ii->i', [3, 3]))).rejects.toThrow('Einsum (node "y") has no gradient here');
  });
});
