/** Takes residual layers out of a model: what read x + f(x) reads x. */
import { type Model, NameAuthority, replaceAllUses, type Value } from '../../ir/index.js';
import type { ResidualLayer } from './residual-layers.js';

/** Exactly what the model computes when f gives zero. The nodes of f stay until a clean-up finds them unread. Edits `model` in place. */
export function dropLayers(model: Model, layers: readonly ResidualLayer[]): void {
  const { graph } = model;
  const values = new Map(graph.nodes.flatMap(({ outputs }) => outputs.flatMap((value) => (value ? [[value.name, value] as const] : []))));
  const found = (name: string): Value => {
    const value = values.get(name);
    if (!value) throw new RangeError(`dropLayers: the model computes no "${name}"`);
    return value;
  };
  const names = new NameAuthority(model);
  /** From the end: the shortcut of one layer may be the sum of the one before. */
  const branches = layers.flatMap((layer) => layer.branches).map(({ entry, sum }) => ({ from: found(sum), to: found(entry) }));
  for (const branch of branches.reverse()) replaceAllUses(graph, branch, names);
}
