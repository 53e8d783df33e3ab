/** The doctor as a whole: file in, diagnosis and repaired file out. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf } from '../../../../services/engine/ir/index.js';
import { decodeModelFile, encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { diagnose } from '../../../../services/engine/pipeline/diagnose.js';
import { QdqModel } from '../../../support/qdq-model.js';

const folder = mkdtempSync(join(tmpdir(), 'lathe-doctor-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const edge = '/work/shared/data/onnx-edge';

/** int8 activations, one of which has two readers. */
function signedResidual(): string {
  const model = new QdqModel();
  const s8 = { scale: 0.05, type: 'int8' as const };
  const attributes = { pads: attributeOf.ints([1, 1, 1, 1]) };
  const conv = (x: string, seed: number): string =>
    model.pair(model.node('Conv', [x, model.weight(`w${seed}`, [4, 4, 3, 3], { axis: 0, seed }).value], { attributes }), s8);
  const first = conv(model.pair(model.input('x', [1, 4, 8, 8]), s8), 1);
  const path = join(folder, 'residual.onnx');
  encodeModelFile(model.output(model.pair(model.node('Add', [conv(first, 2), first]), s8)).build(), path);
  return path;
}

describe('diagnose', () => {
  it('explains each node that the runtime leaves in float and changes nothing', async () => {
    const result = await diagnose({ modelPath: signedResidual(), scratch: folder });
    expect(result.runtime?.unfused.length).toBeGreaterThan(0);
    expect(result.unexplained).toEqual([]);
    expect(result.findings.filter(({ effect, confirmed }) => effect === 'float' && confirmed !== true)).toEqual([]);
    expect(result.saturation.exact_on).toEqual(['x64', 'x64-vnni', 'arm64']);
    expect(result.repair).toBeNull();
  });

  it('writes a repaired file of which every node is computed on codes', async () => {
    const fixPath = join(folder, 'fixed.onnx');
    const { repair } = await diagnose({ modelPath: signedResidual(), fixPath, scratch: folder });
    expect(repair?.after.runtime?.unfused).toEqual([]);
    expect(repair?.after.findings).toEqual([]);
    expect(repair?.warnings).toEqual([]);
    // Fused addition may round one step away from float arithmetic (onnxruntime.md 1.6), and so may an activation before it at a tie.
    expect(repair?.measured?.after.fused_difference).toBeLessThanOrEqual(2 * 0.05 * 1.001);
    expect(decodeModelFile(fixPath).graph.inputs.map(({ name }) => name)).toEqual(['x']);
  });

  it.skipIf(!existsSync(edge))('a model that the runtime refuses is diagnosed, and not repaired', async () => {
    const modelPath = join(edge, 'deeploy_requantshift_kws.onnx');
    const { refusal, runtime } = await diagnose({ modelPath, scratch: folder });
    expect(runtime).toBeNull();
    expect(refusal).toContain('RequantShift');
    await expect(diagnose({ modelPath, fixPath: join(folder, 'none.onnx'), scratch: folder })).rejects.toMatchObject({
      code: 'model_unsupported',
    });
  });

  it.skipIf(!existsSync(edge)).each(['conv_qdq_s8s8_perchannel', 'conv_qdq_external_ini'])(
    '%s, a file of the runtime itself, fuses after the repair',
    async (name) => {
      const { repair } = await diagnose({ modelPath: join(edge, `${name}.onnx`), fixPath: join(folder, `${name}.onnx`), scratch: folder });
      expect(repair?.after.runtime).toMatchObject({ unfused: [], operators: { QLinearConv: 1 } });
      expect(repair?.after.findings.filter(({ repairable }) => repairable === 'exact')).toEqual([]);
    },
  );
});
