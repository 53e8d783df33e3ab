/** The IR: what every layer of the engine speaks. Knows no protobuf, no file system, no runtime. */

export * from './attributes.js';
export * from './clone-model.js';
export * from './graph.js';
export * from './graph-patch.js';
export * from './graph-writer.js';
export * from './name-authority.js';
export * from './replace-all-uses.js';
export * from './tensor.js';
export * from './tensor-rows.js';
export * from './traversal.js';
export * from './verify-graph.js';
