/** Quantization methods of the engine. */
export { type DynamicInt8Options, dynamicInt8 } from './dynamic-int8.js';
export { float16 } from './float16/float16.js';
export type { Float16Options } from './float16/options.js';
export { type Float16StorageOptions, float16Storage } from './float16-storage.js';
export { diagnoseModel } from './repair/diagnose-model.js';
export type { Finding, FindingKind } from './repair/finding.js';
export { integerForm } from './repair/integer-forms.js';
export type { RepairQdqOptions } from './repair/options.js';
export { repairQdq } from './repair/repair-qdq.js';
export { describeSaturation, type ProductSaturation, saturationReport } from './saturation-report.js';
export { mixedPrecision } from './sensitivity/mixed-precision.js';
export type { MixedPrecisionOptions } from './sensitivity/options.js';
export type { StaticInt8Options } from './static/options.js';
export { staticInt8 } from './static/static-int8.js';
export type { WeightOnlyOptions } from './weight-only/options.js';
export { weightOnly } from './weight-only/weight-only.js';
