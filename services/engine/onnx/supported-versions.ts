/** Format versions that onnxruntime 1.30 loads; measured by loading a one-node model of each version. */

/** ModelProto.ir_version. */
export const irVersionMax = 13;

/** Operator set version by domain; other domains have no limit here. */
export const opsetVersionMax: ReadonlyMap<string, number> = new Map([
  ['', 26],
  ['ai.onnx.ml', 5],
]);
