/** Central differences: the oracle of every gradient rule. */
import { vjp } from '../../services/engine/autodiff/vjp.js';
import {
  cloneModel,
  float32Tensor,
  float32Values,
  GraphWriter,
  type Model,
  NameAuthority,
  type Tensor,
  type Value,
} from '../../services/engine/ir/index.js';
import { observeShapes } from '../../services/engine/runtime/observe-shapes.js';
import { createOrtRuntime } from '../../services/engine/runtime/ort-session.js';
import { pseudoRandom } from '../../services/engine/runtime/pseudo-random.js';
import { temporaryFolder } from './temporary-folder.js';

export interface GradientCheck {
  readonly model: Model;
  /** Values of the float32 graph inputs, and of others. */
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** Names of graph inputs to differentiate by; default: every float32 feed. */
  readonly wrt?: readonly string[];
  readonly seed?: number;
  /** Half the distance of the differences. Default 1e-2: of smooth functions of size 1, float32 leaves an error near 1e-4. */
  readonly step?: number;
  /** Elements compared per input, drawn at random. Default 24. */
  readonly elements?: number;
}

export interface CheckedGradient {
  readonly input: string;
  /** max |analytic - numeric| / max(1, max |numeric|). */
  readonly error: number;
  /** Largest |numeric|: a check of zeros is none. */
  readonly largest: number;
}

/** L = sum over outputs <projection, y> with a random projection: dL/dx by vjp against (L(x + h) - L(x - h)) / 2h. */
export async function checkGradients(check: GradientCheck): Promise<CheckedGradient[]> {
  const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
  const random = pseudoRandom(check.seed ?? 1);
  const feeds = new Map(Object.entries(check.feeds));
  const wrt = check.wrt ?? [...feeds].filter(([, tensor]) => tensor.dataType === 'float32').map(([name]) => name);
  const { shapes } = await observeShapes(runtime, { model: check.model, feeds });
  const outputs = check.model.graph.outputs.filter(({ type }) => type?.kind !== 'tensor' || type.dataType === 'float32');
  const projections = new Map(
    outputs.map(({ name }) => {
      const dims = shapes.get(name) ?? [];
      return [
        name,
        float32Tensor(
          dims,
          Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => random.normal()),
        ),
      ] as const;
    }),
  );
  const session = await runtime.open(check.model, { optimization: 'disabled', threads: 1 });
  const loss = async (at: ReadonlyMap<string, Tensor>): Promise<number> => {
    const found = await session.run(at, [...projections.keys()]);
    return [...projections].reduce((sum, [name, projection]) => sum + dot(projection, found.get(name) as Tensor), 0);
  };
  const analytic = await analyticGradients(check, { wrt, shapes, projections, feeds, runtime });
  const checked: CheckedGradient[] = [];
  for (const input of wrt) {
    const tensor = feeds.get(input) as Tensor;
    const gradient = analytic.get(input);
    let error = 0;
    let largest = 0;
    for (const at of drawn(float32Values(tensor).length, check.elements ?? 24, random.below)) {
      const h = check.step ?? 1e-2;
      const moved = async (by: number): Promise<number> => {
        const values = float32Values(tensor).slice();
        values[at] = (values[at] ?? 0) + by;
        return loss(new Map([...feeds, [input, float32Tensor(tensor.dims, values)]]));
      };
      const numeric = ((await moved(h)) - (await moved(-h))) / (2 * h);
      error = Math.max(error, Math.abs(numeric - (gradient?.[at] ?? 0)));
      largest = Math.max(largest, Math.abs(numeric));
    }
    checked.push({ input, error: error / Math.max(1, largest), largest });
  }
  await session.close();
  return checked;
}

interface Differentiation {
  readonly wrt: readonly string[];
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly projections: ReadonlyMap<string, Tensor>;
  readonly feeds: ReadonlyMap<string, Tensor>;
  readonly runtime: ReturnType<typeof createOrtRuntime>;
}

async function analyticGradients(
  { model }: GradientCheck,
  { wrt, shapes, projections, feeds, runtime }: Differentiation,
): Promise<Map<string, Float32Array>> {
  const copy = cloneModel(model);
  const names = new NameAuthority(copy);
  const write = new GraphWriter(copy, names);
  const inputs = new Map(copy.graph.inputs.map((value) => [value.name, value] as const));
  const cotangents = new Map(
    copy.graph.outputs.flatMap((value): [Value, Value][] => {
      const projection = projections.get(value.name);
      return projection ? [[value, write.constant(projection)]] : [];
    }),
  );
  const gradients = vjp({ model: copy, names, shapes, cotangents, wrt: wrt.flatMap((name) => inputs.get(name) ?? []) });
  copy.graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...new Set(gradients.values()));
  if (gradients.size === 0) return new Map();
  for (const value of gradients.values()) value.type = { kind: 'tensor', dataType: 'float32', shape: null };
  const session = await runtime.open(copy, { config: { 'session.disable_quant_qdq': '1' } });
  try {
    const found = await session.run(feeds);
    const result = new Map<string, Float32Array>();
    for (const [value, gradient] of gradients) {
      const tensor = found.get(gradient.name) as Tensor;
      const expected = feeds.get(value.name)?.dims ?? [];
      if (tensor.dims.join() !== expected.join()) throw new Error(`gradient of ${value.name} is [${tensor.dims}], expected [${expected}]`);
      result.set(value.name, float32Values(tensor));
    }
    return result;
  } finally {
    await session.close();
  }
}

function dot(left: Tensor, right: Tensor): number {
  const values = float32Values(right);
  return float32Values(left).reduce((sum, each, at) => sum + each * (values[at] ?? 0), 0);
}

function drawn(length: number, count: number, below: (bound: number) => number): number[] {
  if (length <= count) return Array.from({ length }, (_, at) => at);
  return Array.from({ length: count }, () => below(length));
}
