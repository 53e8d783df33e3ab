/** A model becomes another one that was made of it. */
import type { Model } from './graph.js';

/** `model` gets the graph, operator sets and version of `other`, which is not used any more; its metadata stay. */
export function adoptModel(model: Model, other: Model): void {
  model.graph = other.graph;
  model.irVersion = other.irVersion;
  for (const [domain, version] of other.opsetImports) model.opsetImports.set(domain, version);
}
