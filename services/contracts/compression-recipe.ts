/** The recipe: what a caller asks for. The same JSON document in the CLI, in a job body and in a preset. */
import Type, { type Static } from 'typebox';

const strict = { additionalProperties: false } as const;
const nodeNames = (what: string) =>
  Type.Array(Type.String({ minLength: 1, maxLength: 512 }), { maxItems: 10_000, description: `${what} '*' stands for any characters.` });

const cleanUp = Type.Object({ method: Type.Literal('clean-up') }, strict);

const dynamicInt8 = Type.Object(
  {
    method: Type.Literal('dynamic-int8'),
    per_channel: Type.Optional(Type.Boolean({ description: 'One scale per output column instead of one per weight tensor.' })),
    op_types: Type.Optional(
      Type.Array(Type.Enum(['MatMul', 'Gemm', 'LSTM', 'Gather']), {
        uniqueItems: true,
        minItems: 1,
        description: 'Operators to quantize; all of them when absent. The projections of attention are MatMul nodes.',
      }),
    ),
    exclude: Type.Optional(nodeNames('Nodes to leave in float, by name.')),
    embeddings: Type.Optional(Type.Boolean({ description: 'Store embedding tables as int8 and dequantize after Gather. Default true.' })),
  },
  strict,
);

const float16Storage = Type.Object(
  {
    method: Type.Literal('float16-storage'),
    exclude: Type.Optional(nodeNames('Nodes whose weights stay float32, by name.')),
    min_elements: Type.Optional(Type.Integer({ minimum: 1, description: 'Smaller tensors stay float32. Default 64.' })),
  },
  strict,
);

export const CompressionStep = Type.Union([cleanUp, dynamicInt8, float16Storage]);
export type CompressionStep = Static<typeof CompressionStep>;

export const QualityGate = Type.Object(
  {
    metric: Type.Optional(Type.Enum(['top1', 'top5', 'mse', 'mae'], { description: 'Default: top1 for class labels, mse for others.' })),
    max_metric_drop: Type.Optional(
      Type.Number({ minimum: 0, description: 'Largest loss of the metric, absolute (0.01 = one point of top-1). Needs labels.' }),
    ),
    min_speedup: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'Source median latency over artifact median latency.' })),
    min_size_ratio: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'Source bytes over artifact bytes.' })),
    min_sqnr_db: Type.Optional(Type.Number({ description: 'Signal to quantization noise of the outputs, in decibels.' })),
  },
  strict,
);
export type QualityGate = Static<typeof QualityGate>;

export const Target = Type.Enum(['x64', 'x64-vnni', 'arm64'], {
  description: "What the artifact must run well on. 'x64' (default): one answer on every x64 CPU; 'x64-vnni': the full int8 range.",
});
export type Target = Static<typeof Target>;

export const CompressionRecipe = Type.Object(
  {
    steps: Type.Array(CompressionStep, { minItems: 1, maxItems: 32 }),
    gate: Type.Optional(QualityGate),
    target: Type.Optional(Target),
  },
  { ...strict, $id: 'CompressionRecipe', description: 'Steps are applied in order; graph clean-up always runs first.' },
);
export type CompressionRecipe = Static<typeof CompressionRecipe>;

export type MethodName = CompressionStep['method'];

/** What `/v1/methods` and the documentation say of each method. */
export const methods = {
  'clean-up': {
    title: 'Graph clean-up',
    description: 'Exact: constant folding, BatchNormalization folding, dead code, identities, common subexpressions.',
    needs: [],
    schema: cleanUp,
  },
  'dynamic-int8': {
    title: 'Dynamic int8 quantization',
    description:
      'Weights of MatMul (the projections of attention are MatMul nodes), Gemm, LSTM and embeddings as int8; activations quantized while running. Needs no data.',
    needs: [],
    schema: dynamicInt8,
  },
  'float16-storage': {
    title: 'float16 storage',
    description: 'Weights stored as float16 and widened when the model loads: half the file, unchanged speed.',
    needs: [],
    schema: float16Storage,
  },
} as const satisfies Record<MethodName, { title: string; description: string; needs: readonly ('data' | 'labels')[]; schema: object }>;

/** Named recipes. A preset is nothing but such a document. */
export const presets = {
  'clean-up': { steps: [{ method: 'clean-up' }] },
  'dynamic-int8': { steps: [{ method: 'dynamic-int8' }] },
  'float16-storage': { steps: [{ method: 'float16-storage' }] },
} as const satisfies Record<string, CompressionRecipe>;

export type PresetName = keyof typeof presets;
