/** What the decoders of graphs, nodes and attributes share: scopes of names, where tensors outside the file come from. */
import { EngineError } from '../engine-errors.js';
import type { Graph, Value } from '../ir/index.js';
import type { ExternalDataResolver } from './decode-tensor.js';
import { MalformedMessage, type MessageReader } from './message-reader.js';

/** The names that a graph can see: its own, then those of the graphs around it. */
export class Scope {
  private readonly values = new Map<string, Value>();

  constructor(
    readonly graphName: string,
    readonly outer: Scope | null,
  ) {}

  /** Throws EngineError when the graph already has a value of this name (ONNX is in single static assignment form). */
  declare(value: Value, role: string): Value {
    if (value.name === '') throw new EngineError('model_invalid', `${role} of graph '${this.graphName}' has no name.`);
    if (this.values.has(value.name))
      throw new EngineError('model_invalid', `${role} '${value.name}': this name is already defined in graph '${this.graphName}'.`);
    this.values.set(value.name, value);
    return value;
  }

  own(name: string): Value | undefined {
    return this.values.get(name);
  }

  find(name: string): Value | undefined {
    for (let scope: Scope | null = this; scope; scope = scope.outer) {
      const value = scope.values.get(name);
      if (value) return value;
    }
    return undefined;
  }
}

export interface DecodeContext {
  readonly resolveExternal: ExternalDataResolver;
  /** Decodes a graph held by an attribute. Passed in, as graphs and attributes contain each other. */
  readonly decodeSubgraph: (reader: MessageReader, scope: Scope) => Graph;
}

/** Runs `decode`; a damaged message becomes an EngineError that says where it lies. */
export function locate<T>(where: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof MalformedMessage) throw new EngineError('model_invalid', `${where}: ${error.message}.`, {}, { cause: error });
    throw error;
  }
}
