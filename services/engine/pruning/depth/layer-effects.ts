/** What each layer does: how far the outputs move without it. */
import { cloneModel, float32Values, isFloating, type Model, type Tensor } from '../../ir/index.js';
import type { MethodContext, RunSource } from '../../method.js';
import { dropLayers } from './drop-layers.js';
import type { ResidualLayer } from './residual-layers.js';

const SAMPLES = 64;
const BATCH = 16;

/** Mean over the floating outputs of |y - y'|^2 / |y|^2, y' without the layer, on the first samples. */
export async function layerEffects(
  model: Model,
  layers: readonly ResidualLayer[],
  { samples, context }: { samples: RunSource; context: MethodContext },
): Promise<number[]> {
  const reference = await outputsOf(model, samples, context);
  const effects: number[] = [];
  for (const [at, layer] of layers.entries()) {
    context.signal.throwIfAborted();
    const without = cloneModel(model);
    dropLayers(without, [layer]);
    effects.push(movement(reference, await outputsOf(without, samples, context)));
    context.progress((at + 1) / layers.length, `without layer ${at + 1} of ${layers.length}`);
  }
  return effects;
}

type Outputs = ReadonlyMap<string, readonly Tensor[]>;

async function outputsOf(model: Model, samples: RunSource, { runtime }: MethodContext): Promise<Outputs> {
  const session = await runtime.open(model);
  const found = new Map<string, Tensor[]>();
  try {
    for await (const { feeds } of samples.runs(BATCH, SAMPLES))
      for (const [name, tensor] of await session.run(feeds)) found.set(name, [...(found.get(name) ?? []), tensor]);
    return found;
  } finally {
    await session.close();
  }
}

function movement(reference: Outputs, other: Outputs): number {
  const shares = [...reference].flatMap(([name, tensors]) => {
    if (!tensors.every(({ dataType }) => isFloating(dataType))) return [];
    let [moved, present] = [0, 0];
    for (const [run, tensor] of tensors.entries()) {
      const moving = other.get(name)?.[run];
      const now = moving ? float32Values(moving) : new Float32Array();
      for (const [at, value] of float32Values(tensor).entries()) {
        moved += (value - (now[at] ?? 0)) ** 2;
        present += value ** 2;
      }
    }
    return [moved / Math.max(present, Number.MIN_VALUE)];
  });
  return shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length);
}
