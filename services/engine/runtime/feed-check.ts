/** Refuses feeds that do not fit the inputs that a model declares. */
import { EngineError } from '../engine-errors.js';
import { dataTypes, elementCount, type Shape, type Tensor } from '../ir/index.js';
import type { InputOutputInfo } from './execution-session.js';

/** A rank-0 feed to an input of unknown rank can abort the process (onnxruntime.md 5.6), so nothing unfit reaches the runtime. Throws EngineError `dataset_invalid`. */
export function checkFeeds(feeds: ReadonlyMap<string, Tensor>, inputs: readonly InputOutputInfo[]): void {
  const known = new Map(inputs.map((input) => [input.name, input]));
  for (const name of feeds.keys()) {
    if (!known.has(name)) throw unfit(`The model has no input "${name}"; its inputs are ${[...known.keys()].join(', ')}.`, name);
  }
  for (const input of inputs) {
    const feed = feeds.get(input.name);
    if (!feed) throw unfit(`No value for input "${input.name}".`, input.name);
    checkFeed(feed, input);
  }
}

function checkFeed(feed: Tensor, input: InputOutputInfo): void {
  if (feed.dataType !== input.dataType) throw unfit(`Input "${input.name}" is ${input.dataType}, got ${feed.dataType}.`, input.name);
  if (!fits(feed.dims, input.shape)) {
    throw unfit(
      `Input "${input.name}" has shape [${input.shape?.map((size) => size ?? '?') ?? 'any, at least one axis'}], got [${feed.dims}].`,
      input.name,
    );
  }
  const elements = elementCount(feed.dims);
  const present = feed.dataType === 'string' ? (feed.strings?.length ?? 0) : (feed.data.byteLength * 8) / dataTypes[feed.dataType].bits;
  if (present !== elements) throw unfit(`Input "${input.name}" [${feed.dims}] needs ${elements} elements, got ${present}.`, input.name);
}

function fits(dims: readonly number[], shape: Shape | null): boolean {
  if (!shape) return dims.length > 0;
  return dims.length === shape.length && shape.every((size, axis) => typeof size !== 'number' || size === dims[axis]);
}

function unfit(message: string, input: string): EngineError {
  return new EngineError('dataset_invalid', message, { input });
}
