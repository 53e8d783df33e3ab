/** ONNX files to IR and back: the only place that knows protobuf. */
export { decodeModel, decodeModelFile, externalDataLocations } from './decode-model.js';
export { encodeModel } from './encode-model.js';
export { type EncodedFile, type EncodeFileOptions, encodeModelFile } from './encode-model-file.js';
