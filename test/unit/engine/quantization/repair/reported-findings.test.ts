/** What the doctor reports without repairing it, what it repairs on request, and that the runtime really does what the finding says. */
import { afterAll, describe, expect, it } from 'vitest';
import { EngineError } from '../../../../../services/engine/engine-errors.js';
import { type Attribute, attributeOf, float32Tensor, type Model } from '../../../../../services/engine/ir/index.js';
import { type FindingKind, findingKinds } from '../../../../../services/engine/quantization/repair/finding.js';
import { prove } from '../../../../../services/engine/quantization/repair/proof.js';
import { rules } from '../../../../../services/engine/quantization/repair/rules.js';
import { weights } from '../../../../support/build-model.js';
import { codes, QdqModel } from '../../../../support/qdq-model.js';
import { context, findings, largestDifference, outputs, removeScratch, repaired, seenByRuntime } from './repair-fixtures.js';

afterAll(removeScratch);

const u8 = { scale: 0.05, zeroPoint: 128 };

/** x (a pair) -> build -> y, the output. */
function between(build: (model: QdqModel, x: string) => string, shape: readonly number[] = [1, 4, 6, 6], opset = 17): Model {
  const model = new QdqModel(opset);
  const x = model.pair(model.input('x', shape), u8);
  return model.output(build(model, x)).build();
}

const conv = (model: QdqModel, x: string): string => model.node('Conv', [x, model.weight('w', [8, 4, 1, 1], { axis: 0 }).value]);

/** Findings of effect 'float' that the runtime must confirm: some affected node is left in float. */
const leftInFloat: Readonly<Partial<Record<FindingKind, Model>>> = {
  'activation-between': between((model, x) => model.pair(model.node('HardSwish', [conv(model, x)]), u8)),
  'activation-range': between((model, x) => model.pair(model.node('Relu', [conv(model, x)]), u8)),
  'output-not-quantized': between(conv),
  'output-also-float': between((model, x) => {
    const y = conv(model, x);
    model.output(model.pair(y, u8));
    return y;
  }),
  'float-operand': between((model, x) => model.pair(model.node('Add', [x, model.constant('c', weights([1, 4, 1, 1]))]), u8)),
  'type-mismatch': between((model, x) => {
    const signed = model.pair(model.input('y', [1, 4, 6, 6]), { scale: 0.05, type: 'int8' });
    // A second reader: the runtime makes int8 activations with one reader uint8 by itself.
    model.output(signed);
    return model.pair(model.node('Add', [x, signed]), u8);
  }),
  'unfusable-type': between(
    (model) => model.pair(conv(model, model.pair(model.input('y', [1, 4, 6, 6]), { ...u8, type: 'uint16' })), u8),
    undefined,
    21,
  ),
  'varying-parameters': between((model) => {
    const scale = model.input('s', []);
    const zero = model.constant('z', codes('uint8', [], [0]));
    const pair = (value: string): string =>
      model.node('DequantizeLinear', [model.node('QuantizeLinear', [value, scale, zero]), scale, zero]);
    return pair(model.node('Flatten', [pair(model.input('y', [1, 4, 6, 6]))]));
  }),
  'mover-parameters': between((model, x) =>
    model.pair(model.node('MaxPool', [x], { attributes: { kernel_shape: attributeOf.ints([2, 2]) } }), { scale: 0.07 }),
  ),
  'no-integer-kernel': between((model, x) => model.pair(model.node('Tanh', [x]), { scale: 0.01, zeroPoint: 128 })),
};

describe('findings that the runtime confirms', () => {
  it.each(Object.entries(leftInFloat))('%s', async (kind, model) => {
    const found = findings(model, kind as FindingKind);
    expect(found.length).toBeGreaterThan(0);
    expect(found[0]?.effect).toBe('float');
    const { unfused, islands } = await seenByRuntime(model);
    const left = new Set([...unfused.map(({ node }) => node), ...islands]);
    expect(found[0]?.affects.some((node) => left.has(node))).toBe(true);
  });

  it('weight-bias-trap: a float weight between codes changes the numbers, and not when the pass is disabled', async () => {
    const model = between((qdq, x) =>
      qdq.pair(qdq.node('Conv', [x, qdq.constant('w', weights([8, 4, 1, 1]))]), { scale: 0.01, zeroPoint: 128 }),
    );
    expect(findings(model, 'weight-bias-trap')).toMatchObject([{ effect: 'numbers', repairable: 'no' }]);
    const own = await outputs(model);
    expect(largestDifference(own, await outputs(model, 'all'))).toBeGreaterThan(0);
    expect(
      largestDifference(own, await outputs(model, 'all', { 'optimization.disable_specified_optimizers': 'WeightBiasQuantization' })),
    ).toBe(0);
  });

  it('conflicting-pairs: the runtime merges two pairs, and the numbers change', async () => {
    const model = between((qdq, x) => qdq.pair(x, { scale: 0.021, zeroPoint: 100 }));
    expect(findings(model, 'conflicting-pairs')).toHaveLength(1);
    const own = await outputs(model);
    expect(largestDifference(own, await outputs(model, 'all'))).toBeGreaterThan(0);
    expect(largestDifference(own, await outputs(model, 'all', { 'session.disable_double_qdq_remover': '1' }))).toBe(0);
  });

  it('interpolation and operator-version', () => {
    const attributes: Record<string, Attribute> = { mode: attributeOf.string('linear') };
    const scales = float32Tensor([4], [1, 1, 2, 2]);
    const resize = between((qdq, x) => qdq.pair(qdq.node('Resize', [x, '', qdq.constant('scales', scales)], { attributes }), u8));
    expect(findings(resize, 'interpolation')).toHaveLength(1);
    const pool = between(
      (qdq, x) => qdq.pair(qdq.node('MaxPool', [x], { attributes: { kernel_shape: attributeOf.ints([2, 2]) } }), u8),
      undefined,
      11,
    );
    expect(findings(pool, 'operator-version')).toMatchObject([{ effect: 'float' }]);
  });

  it('a well made model has no findings', async () => {
    const model = between((qdq, x) => qdq.pair(conv(qdq, x), u8));
    for (const kind of findingKinds) expect(findings(model, kind)).toEqual([]);
    expect((await seenByRuntime(model)).unfused).toEqual([]);
  });
});

describe('repairs on request', () => {
  it('activation-range: not without being asked; asked, the node fuses and its bias follows the new step', async () => {
    const source = between((model, x) => {
      const hidden = model.pair(model.node('Relu', [conv(model, x)]), u8);
      const second = model.weight('w2', [4, 8, 1, 1], { seed: 3 });
      return model.pair(model.node('Conv', [hidden, second.value, model.bias('b', 4, { scales: second.scales, input: u8.scale })]), u8);
    });
    expect((await repaired(source)).difference).toBe(0);
    const { model, difference } = await repaired(source, ['activation-range', 'bias-scale']);
    expect(findings(model, 'activation-range')).toEqual([]);
    expect(findings(model, 'bias-scale')).toEqual([]);
    expect((await seenByRuntime(model)).operators).toMatchObject({ QLinearConv: 2 });
    // A finer step for the hidden layer: the output moves by a few of its own steps at most.
    expect(difference).toBeLessThanOrEqual(3 * u8.scale);
  });

  it('saturation: the weights become uint8, bit for bit, and no pair of products saturates', async () => {
    const source = between((model, x) =>
      model.pair(model.node('Conv', [x, model.weight('w', [8, 4, 3, 3], { axis: 0, size: 127 }).value]), u8),
    );
    expect(findings(source, 'saturation')).toMatchObject([{ repairable: 'on-request' }]);
    const { model, difference } = await repaired(source, ['saturation']);
    expect(difference).toBe(0);
    expect(findings(model, 'saturation')).toEqual([]);
    expect((await seenByRuntime(model)).operators).toMatchObject({ QLinearConv: 1 });
    expect(largestDifference(await outputs(source), await outputs(model, 'all'))).toBeLessThanOrEqual(u8.scale * 1.001);
  });

  it('warns when nodes that fuse after the repair can saturate, and not when that is repaired, too', async () => {
    const model = new QdqModel();
    const s8 = { scale: 0.05, type: 'int8' as const };
    const x = model.pair(model.input('x', [1, 4, 6, 6]), s8);
    const y = model.node('Conv', [x, model.weight('w', [8, 4, 3, 3], { axis: 0, size: 127 }).value]);
    const source = model.output(model.pair(y, s8)).build();
    expect((await repaired(source)).outcome.warnings).toMatchObject([expect.stringContaining('can saturate')]);
    expect((await repaired(source, ['signed-activations', 'saturation'])).outcome.warnings).toEqual([]);
  });

  it('weight-only-conv: the weight is stored as it is dequantized', async () => {
    const source = new QdqModel();
    const y = source.node('Conv', [source.input('x', [1, 4, 6, 6]), source.weight('w', [8, 4, 1, 1], { axis: 0 }).value]);
    const { model, difference } = await repaired(source.output(y).build(), ['weight-only-conv']);
    expect(difference).toBe(0);
    expect(model.graph.nodes.map(({ opType }) => opType)).toEqual(['Conv']);
  });

  it('tied-weight: each product gets codes and scales of its own', async () => {
    const source = new QdqModel(21);
    const { value } = source.weight('w', [64, 32], { axis: 1 });
    for (const name of ['a', 'b']) source.output(source.node('MatMul', [source.input(name, ['n', 64]), value]));
    const model = source.build();
    expect((await seenByRuntime(model)).operators).toMatchObject({ MatMul: 2 });
    const result = await repaired(model, ['tied-weight']);
    expect(result.difference).toBe(0);
    expect((await seenByRuntime(result.model)).operators).toMatchObject({ 'com.microsoft:MatMulNBits': 2 });
  });

  it('an unknown kind is refused with the list of kinds', async () => {
    const model = between(conv);
    await expect(repaired(model, ['nothing' as FindingKind])).rejects.toThrow(EngineError);
    await expect(repaired(model, ['nothing' as FindingKind])).rejects.toThrow(/bias-scale/);
  });
});

describe('the proof', () => {
  it('fails for a model that computes something else', async () => {
    const [before, after] = [0.01, 0.011].map((scale) =>
      between((model, x) => model.node('MatMul', [x, model.weight('w', [6, 6], { scale }).value])),
    );
    if (!before || !after) throw new Error('two models');
    for (const proof of ['equal', 'measured'] as const) {
      const verdict = await prove({ before, after, proof, replaced: [] }, await context(before));
      expect(verdict.holds).toBe(proof === 'measured');
    }
  });

  it('undoes a repair that does not hold, and says so', async () => {
    const source = between((model, x) => model.pair(model.node('Relu', [conv(model, x)]), { scale: 0.05 }));
    const rule = rules['redundant-activation'];
    const examine = rule.examine;
    const broken = { ...rule, examine };
    // A repair that breaks the model: the weight's scale is replaced by that of the activation.
    broken.examine = (graph) =>
      examine(graph).map((diagnosis) => ({
        ...diagnosis,
        repair: {
          proof: 'equal' as const,
          apply: () => {
            const convolution = graph.nodes.find((node) => node.opType === 'Conv');
            convolution?.inputs[1]?.producer?.setInput(
              0,
              graph.addConstant(convolution, 'zeros', codes('int8', [8, 4, 1, 1], new Array(32).fill(0))),
            );
            return [];
          },
        },
      }));
    Object.assign(rule, broken);
    try {
      const { outcome, difference } = await repaired(source);
      expect(difference).toBe(0);
      expect(outcome.warnings).toMatchObject([expect.stringContaining('was undone')]);
    } finally {
      Object.assign(rule, { examine });
    }
  });
});
