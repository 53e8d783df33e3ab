/** Quantization methods of the engine. */
export { type DynamicInt8Options, dynamicInt8 } from './dynamic-int8.js';
export { type Float16StorageOptions, float16Storage } from './float16-storage.js';
