/** Gradients of whole models against those that PyTorch's autograd gave in float64, recorded by `npm run bench -- training`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createOrtRuntime } from '../../../services/engine/runtime/ort-session.js';
import { dataModels, modelGradients } from '../../support/model-gradients.js';
import { temporaryFolder } from '../../support/temporary-folder.js';

/** By model and parameter: the norm of the gradient, and its product with cos(0), cos(1), ... */
type Recorded = Readonly<Record<string, Readonly<Record<string, readonly [norm: number, wave: number]>>>>;

const recorded = JSON.parse(readFileSync(join(import.meta.dirname, 'model-gradients.json'), 'utf8')) as Recorded;
/** A unit that float32 carries over a kink (Relu, MaxPool) costs as much; everything else is a hundred times nearer. */
const TOLERANCE = 1e-2;
/** Of the largest norm of the model: gradients that cancel to nothing have no digits. */
const SMALLEST_SHARE = 1e-3;

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
const wave = (values: Float32Array): number => values.reduce((sum, value, at) => sum + value * Math.cos(at), 0);

const models = dataModels().filter((path) => Object.hasOwn(recorded, path));

describe.skipIf(models.length === 0)('gradients of whole models', () => {
  test.each(models)(
    '%s',
    async (path) => {
      const expected = recorded[path] ?? {};
      const scratch = await temporaryFolder();
      const { gradients, close } = await modelGradients(path, createOrtRuntime({ scratch }), scratch);
      await close();
      expect([...gradients.keys()].sort()).toEqual(Object.keys(expected).sort());
      const floor = SMALLEST_SHARE * Math.max(...Object.values(expected).map(([each]) => each));
      const far = [...gradients].filter(([name, values]) => {
        const [size, product] = expected[name] ?? [0, 0];
        const allowed = TOLERANCE * Math.max(size, floor);
        return !(Math.abs(norm(values) - size) <= allowed && Math.abs(wave(values) - product) <= allowed);
      });
      expect(far.map(([name]) => name)).toEqual([]);
    },
    120_000,
  );
});
