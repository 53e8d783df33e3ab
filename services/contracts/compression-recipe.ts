/** The recipe: what a caller asks for. The same JSON document in the CLI, in a job body and in a preset. */
import Type, { type Static } from 'typebox';
import { AcceleratorTarget } from './accelerator-profile.js';
import { crossLayerScalingStep, precisionLoweringStep } from './embedded-steps.js';
import { distributionAwareStep } from './forecasting-steps.js';
import { distillStep, fineTuneStep, labelLossKinds, qatStep, trainStep } from './training-steps.js';

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

const rangeMethods = ['minmax', 'moving-average', 'percentile', 'entropy', 'mse', 'sqnr'] as const;
const activationTypes = ['uint8', 'int8', 'uint16', 'int16'] as const;

const calibration = Type.Object(
  {
    method: Type.Optional(Type.Enum([...rangeMethods], { description: 'How ranges are chosen from the observed values.' })),
    percentile: Type.Optional(
      Type.Number({
        exclusiveMinimum: 50,
        maximum: 100,
        description: "For 'percentile': the share of values kept, in percent. Default 99.999.",
      }),
    ),
    samples: Type.Optional(Type.Integer({ minimum: 1, description: 'At most this many samples are run; default all.' })),
    bins: Type.Optional(Type.Integer({ minimum: 256, maximum: 65_536, description: 'Bins of the histograms. Default 2048.' })),
  },
  { ...strict, description: 'How the ranges of activations are found.' },
);

const tensorOverride = Type.Object(
  {
    tensors: Type.Optional(nodeNames('Names of activation tensors or weights.')),
    op_types: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), { description: 'Operators whose inputs and outputs the rule is for.' }),
    ),
    float: Type.Optional(Type.Boolean({ description: 'Leave in float.' })),
    type: Type.Optional(Type.Enum([...activationTypes])),
    symmetric: Type.Optional(Type.Boolean()),
    scale: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'A fixed scale; needs zero_point.' })),
    zero_point: Type.Optional(Type.Integer()),
    range: Type.Optional(Type.Tuple([Type.Number(), Type.Number()], { description: 'The real range instead of the calibrated one.' })),
  },
  { ...strict, description: 'A rule for chosen tensors or operators; later rules win.' },
);

const staticInt8 = Type.Object(
  {
    method: Type.Literal('static-int8'),
    calibration: Type.Optional(calibration),
    activation_type: Type.Optional(
      Type.Enum([...activationTypes], { description: 'Default uint8. 16 bit computes in float on CPUs: accuracy, no speed.' }),
    ),
    symmetric: Type.Optional(Type.Boolean({ description: 'Symmetric activation ranges. Default false.' })),
    per_channel: Type.Optional(Type.Boolean({ description: 'One weight scale per output channel. Default true.' })),
    reduce_range: Type.Optional(Type.Boolean({ description: '7-bit weights. Default false: pair-safe scales lose less.' })),
    power_of_two: Type.Optional(Type.Boolean({ description: 'Scales are powers of two, for accelerators that shift. Default false.' })),
    narrow_range: Type.Optional(Type.Boolean({ description: 'Weight codes -127..127, without -128. Default true.' })),
    format: Type.Optional(
      Type.Enum(['qdq', 'qoperator'], {
        description: "'qdq' (default): QuantizeLinear and DequantizeLinear; 'qoperator': the integer operators.",
      }),
    ),
    op_types: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), {
        uniqueItems: true,
        minItems: 1,
        description: 'Operators to quantize; all that gain when absent.',
      }),
    ),
    exclude: Type.Optional(nodeNames('Nodes to leave in float, by name.')),
    overrides: Type.Optional(Type.Array(tensorOverride, { maxItems: 1000 })),
    equalize: Type.Optional(Type.Boolean({ description: 'Cross-layer equalization before calibration. Default false.' })),
    smooth: Type.Optional(
      Type.Boolean({
        description:
          'Outlier channels of the inputs of MatMul and Gemm move into the weights (SmoothQuant). Default: where LayerNormalization makes such channels.',
      }),
    ),
    bias_correction: Type.Optional(Type.Enum(['off', 'fast', 'sequential'], { description: "Default 'fast'." })),
    rounding: Type.Optional(
      Type.Enum(['nearest', 'seq-mse', 'gptq', 'adaround'], {
        description:
          "How weights are rounded: alone ('nearest', the default), or for the least error of the products with the inputs seen.",
      }),
    ),
    min_sqnr_db: Type.Optional(
      Type.Number({ description: 'Layers return to float until the outputs on the calibration samples have this signal to noise ratio.' }),
    ),
  },
  strict,
);

const weightOnly = Type.Object(
  {
    method: Type.Literal('weight-only'),
    bits: Type.Optional(Type.Enum([2, 4, 8], { description: 'Bits of the weights of MatMul and Gemm. Default 4.' })),
    algorithm: Type.Optional(
      Type.Enum(['rtn', 'mse', 'hqq', 'k-quant', 'gptq', 'coordinate-descent', 'awq', 'block-reconstruction'], {
        description:
          "Default 'k-quant'; 'gptq', 'coordinate-descent', 'awq' and 'block-reconstruction' need calibration samples. 'coordinate-descent' goes on from the codes of 'gptq' and fits the scales of the blocks, too; it uses up to 512 samples and takes minutes on a transformer. 'block-reconstruction' trains the rounding of convolutions from the codes of 'gptq', block by block, for what the blocks compute; matrices are rounded by 'gptq'.",
      }),
    ),
    block_size: Type.Optional(
      Type.Enum([16, 32, 64, 128, 256], { description: 'Weights along the reduced axis that share a scale. Default 32.' }),
    ),
    symmetric: Type.Optional(Type.Boolean({ description: 'Zero point in the middle of the codes. Default false.' })),
    format: Type.Optional(
      Type.Enum(['matmul-nbits', 'dequantize-linear'], {
        description:
          "'matmul-nbits' (default): com.microsoft MatMulNBits; 'dequantize-linear': DequantizeLinear in blocks, operator set 21.",
      }),
    ),
    accuracy_level: Type.Optional(
      Type.Enum([1, 4], { description: 'Activations inside MatMulNBits: 1 float32, 4 int8 in blocks (fast). Default 4.' }),
    ),
    embedding_bits: Type.Optional(Type.Enum([4, 8, 32], { description: 'Bits of embedding tables; 32 leaves them. Default 8.' })),
    conv_bits: Type.Optional(
      Type.Enum([2, 3, 4, 8, 32], { description: 'Bits of convolution weights, widened when the model loads; 32 leaves them. Default 8.' }),
    ),
    recurrent_bits: Type.Optional(
      Type.Enum([4, 8, 32], { description: 'Bits of LSTM, GRU and RNN weights, widened when the model loads; 32 leaves them. Default 8.' }),
    ),
    protect_ends: Type.Optional(Type.Boolean({ description: 'First and last layer stay at 8 bits. Default true.' })),
    op_types: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { uniqueItems: true, minItems: 1 })),
    exclude: Type.Optional(nodeNames('Nodes to leave in float, by name.')),
  },
  strict,
);

const mixedPrecision = Type.Object(
  {
    method: Type.Literal('mixed-precision'),
    budget: Type.Optional(
      Type.Object(
        {
          bytes: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1, description: 'Fraction of the source bytes to keep.' })),
          latency: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1, description: 'Fraction of the source latency to keep.' })),
        },
        strict,
      ),
    ),
    bits: Type.Optional(
      Type.Array(Type.Enum([2, 3, 4, 8, 32]), {
        uniqueItems: true,
        minItems: 1,
        description: 'Weight bits to choose from; 32 is float. Default 4, 8, 32.',
      }),
    ),
    search: Type.Optional(Type.Enum(['greedy', 'knapsack'], { description: "Default 'greedy'." })),
    min_sqnr_db: Type.Optional(
      Type.Number({
        description:
          'Least signal to noise ratio of the outputs on the calibration samples. Without it and a budget: 30, or what the metric of the gate allows.',
      }),
    ),
    exclude: Type.Optional(nodeNames('Nodes to leave in float, by name.')),
  },
  strict,
);

const float16 = Type.Object(
  {
    method: Type.Literal('float16'),
    compute: Type.Optional(
      Type.Enum(['graph', 'storage'], { description: "'graph' (default): compute in float16 where it can; 'storage': weights only." }),
    ),
    type: Type.Optional(Type.Enum(['float16', 'bfloat16'], { description: "Default 'float16'." })),
    keep_op_types: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), {
        uniqueItems: true,
        description: 'Operators that stay float32, beside those that always do.',
      }),
    ),
    exclude: Type.Optional(nodeNames('Nodes that stay float32, by name.')),
  },
  strict,
);

const repairQdq = Type.Object(
  {
    method: Type.Literal('repair-qdq'),
    only: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), { uniqueItems: true, minItems: 1, description: 'Kinds of findings to repair.' }),
    ),
  },
  strict,
);

const zeroPattern = Type.Union(
  [
    Type.String({ pattern: '^(unstructured|[1-9][0-9]{0,3}:[1-9][0-9]{0,3})$' }),
    Type.Tuple([Type.Integer({ minimum: 1, maximum: 4096 }), Type.Integer({ minimum: 1, maximum: 4096 })]),
  ],
  {
    description:
      "'unstructured' (default): anywhere; 'N:M' such as '2:4': at most N of each M consecutive inputs of an output stay; [outputs, inputs]: blocks as a whole.",
  },
);
const zeroShare = (what: string) => Type.Number({ minimum: 0, exclusiveMaximum: 1, description: what });

const layerSparsity = Type.Object(
  {
    nodes: nodeNames('Names of layers.'),
    sparsity: Type.Optional(zeroShare('Fraction of their weights that become zero; 0 leaves them as they are.')),
    pattern: Type.Optional(zeroPattern),
  },
  { ...strict, description: 'A rule for chosen layers; later rules win.' },
);

const sparsity = Type.Object(
  {
    method: Type.Literal('sparsity'),
    sparsity: Type.Optional(
      zeroShare("Fraction of the weights that become zero. Default 0.5; not with 'N:M', which says how many it makes zero."),
    ),
    pattern: Type.Optional(zeroPattern),
    criterion: Type.Optional(
      Type.Enum(['magnitude', 'wanda', 'sparsegpt'], {
        description:
          "Which weights: the smallest, those with the smallest products with their inputs, or those that cost the outputs least when the others make up for them. Default 'sparsegpt' with samples, 'magnitude' without.",
      }),
    ),
    allocation: Type.Optional(
      Type.Enum(['uniform', 'global', 'lamp', 'erk'], {
        description:
          'How the zeros are divided among the layers: alike (default), by the magnitudes of all weights, by their share of the layer (LAMP), or by the shapes of the layers (Erdos-Renyi kernel).',
      }),
    ),
    layers: Type.Optional(Type.Array(layerSparsity, { maxItems: 1000, description: 'Rules for chosen layers.' })),
    op_types: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), { uniqueItems: true, minItems: 1, description: 'Operators to prune; all when absent.' }),
    ),
    exclude: Type.Optional(nodeNames('Nodes to leave dense, by name.')),
    embeddings: Type.Optional(Type.Boolean({ description: 'Prune embedding tables, too. Default false.' })),
    protect_ends: Type.Optional(Type.Boolean({ description: 'The first and the last layer stay dense. Default true.' })),
    schedule: Type.Optional(
      Type.Object(
        {
          steps: Type.Integer({ minimum: 1, maximum: 64, description: 'Steps in which the zeros come.' }),
          kind: Type.Optional(Type.Enum(['cubic', 'linear'], { description: "Default 'cubic': most of them at first." })),
        },
        { ...strict, description: 'Zeros in steps, the inputs of the layers seen anew for each; changes nothing for magnitude.' },
      ),
    ),
    bias_correction: Type.Optional(
      Type.Boolean({ description: 'The mean of each channel is moved back to where it was. Default true, where there are samples.' }),
    ),
    min_sqnr_db: Type.Optional(
      Type.Number({ description: 'Layers return to dense until the outputs on the calibration samples have this signal to noise ratio.' }),
    ),
  },
  strict,
);

const keptFraction = (what: string) =>
  Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1, description: `Fraction of the ${what} to keep.` }));

const lowRank = Type.Object(
  {
    method: Type.Literal('low-rank'),
    rank: Type.Optional(
      Type.Enum(['energy', 'budget', 'evbmf'], {
        description:
          'How ranks are chosen: for each layer by the energy of its outputs that is kept (the default), for all layers together under a budget, or as many as are signal and not noise (variational Bayes).',
      }),
    ),
    energy: Type.Optional(
      Type.Number({
        exclusiveMinimum: 0,
        exclusiveMaximum: 1,
        description: 'Share of the energy of the outputs of each layer to keep. Default 0.98.',
      }),
    ),
    budget: Type.Optional(
      Type.Object(
        { macs: keptFraction('multiply-accumulates'), parameters: keptFraction('weights'), bytes: keptFraction('bytes of the file') },
        { ...strict, minProperties: 1, maxProperties: 1 },
      ),
    ),
    forms: Type.Optional(
      Type.Array(Type.Enum(['svd', 'spatial-svd', 'tucker', 'cp']), {
        uniqueItems: true,
        minItems: 1,
        description:
          "Two factors for products and convolutions ('svd'); one convolution along each axis ('spatial-svd'); a convolution between fewer channels ('tucker'); depthwise ones ('cp'). The best is chosen for each layer. Default all but 'cp'.",
      }),
    ),
    multiple_of: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1024, description: 'Ranks are multiples of this. Default 16; 8 for the target arm64.' }),
    ),
    activation_aware: Type.Optional(
      Type.Boolean({
        description:
          'With samples: the factors that keep the outputs best, not the weights. Default true; when false, samples fit the last factor and the bias only.',
      }),
    ),
    min_sqnr_db: Type.Optional(
      Type.Number({
        description: 'Layers return to full rank until the outputs on the calibration samples have this signal to noise ratio.',
      }),
    ),
    exclude: Type.Optional(nodeNames('Nodes to leave as they are, by name.')),
  },
  strict,
);

const structuredPruning = Type.Object(
  {
    method: Type.Literal('structured-pruning'),
    budget: Type.Optional(
      Type.Object(
        {
          macs: keptFraction('multiply-accumulates'),
          parameters: keptFraction('weights'),
          bytes: keptFraction('bytes of the file'),
          latency: keptFraction('latency, as this worker measures it'),
        },
        {
          ...strict,
          minProperties: 1,
          description:
            'Default: half of the multiply-accumulates. Of several, all are kept. A missed budget rejects the artifact, unless the bound on the metric (gate.max_metric_drop) let less be pruned, which it does where no step that trains follows.',
        },
      ),
    ),
    criterion: Type.Optional(
      Type.Enum(
        [
          'reconstruction',
          'l1',
          'l2',
          'bn-scale',
          'lamp',
          'fpgm',
          'random',
          'activation-mean',
          'apoz',
          'activation-std',
          'taylor',
          'fisher',
          'obs',
        ],
        {
          description:
            "How channels are compared. 'reconstruction' (default with samples): by the error that stays in the layers that read them once their other inputs make good what they can; 'l2' (default without samples) and 'l1': by the size of the weights; 'bn-scale', 'lamp' and 'fpgm': from the weights, too; 'activation-mean', 'apoz' and 'activation-std': from the values on samples; 'taylor', 'fisher' and 'obs': from gradients of the loss by labels, or by the model's own answers without; 'random': a baseline.",
        },
      ),
    ),
    reduction: Type.Optional(
      Type.Enum(['sum', 'mean', 'max', 'first', 'product'], {
        description: "How the scores of a channel in the layers that share it become one. Default 'mean'; not for 'reconstruction'.",
      }),
    ),
    normalizer: Type.Optional(
      Type.Enum(['mean', 'max', 'gaussian', 'none'], {
        description: "What the scores of a layer are divided by to compare layers. Default 'mean'; not for 'reconstruction'.",
      }),
    ),
    seed: Type.Optional(Type.Integer({ minimum: 0, description: "Of the criterion 'random'. Default 0." })),
    ranking: Type.Optional(
      Type.Enum(['global', 'per-layer', 'isomorphic'], {
        description:
          "'global' (default): widths at the least cost for what they save; 'per-layer': the same share of each layer; 'isomorphic': the same share of layers of one form.",
      }),
    ),
    sensitivity: Type.Optional(
      Type.Boolean({
        description:
          'Weigh layers by what pruning each of them alone does to the outputs on the samples. Default: true when the criterion is not reconstruction and samples are given.',
      }),
    ),
    round_to: Type.Optional(
      Type.Union([Type.Integer({ minimum: 1, maximum: 256 }), Type.Literal('auto')], {
        description:
          "Channels that remain are multiples of this. Default: the fastest, measured, of 4, 8 and, with AVX512 and before int8, 16, or 1 where none of them keeps the budget; where nothing is timed the largest of them that keeps it; 'auto': the fastest of 1, 4, 8 and 16, measured.",
      }),
    ),
    min_channels: Type.Optional(
      Type.Integer({ minimum: 1, description: 'Channels that each layer keeps at least. Default 8, or half of a narrow layer.' }),
    ),
    max_removed: Type.Optional(
      Type.Number({
        exclusiveMinimum: 0,
        exclusiveMaximum: 1,
        description: 'Largest share of the channels of a layer that may go. Default 0.8.',
      }),
    ),
    remove_branches: Type.Optional(
      Type.Boolean({
        description:
          "Also let residual branches become one linear layer, or go, where that costs less than narrower layers. Default true where the criterion is 'reconstruction', the ranking 'global', layers are repaired and neither min_channels nor max_removed is set.",
      }),
    ),
    exclude: Type.Optional(nodeNames('Layers whose outputs keep all channels, by name.')),
    approximate: Type.Optional(
      Type.Boolean({
        description: 'Also remove channels over which a normalization takes its statistics: that is not exact. Default false.',
      }),
    ),
    steps: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 20, description: 'Prune in so many steps, ranked and repaired anew each time. Default 1.' }),
    ),
    repair: Type.Optional(
      Type.Boolean({
        description: 'Fit the remaining weights to what the original network computes on the samples. Default true when samples are given.',
      }),
    ),
  },
  strict,
);

const layerDropping = Type.Object(
  {
    method: Type.Literal('layer-dropping'),
    keep: Type.Optional(Type.Number({ minimum: 0, exclusiveMaximum: 1, description: 'Share of the layers that stay. Default 0.5.' })),
    choice: Type.Optional(
      Type.Enum(['least-effect', 'spaced'], {
        description:
          "'least-effect' (default with samples): those go without which the outputs move least, each tried alone; 'spaced' (default without): what stays is spread evenly over the depth.",
      }),
    ),
    drop: Type.Optional(nodeNames('Instead: layers with one of these nodes go, by name.')),
  },
  strict,
);

const activationCompression = Type.Object(
  {
    method: Type.Literal('activation-compression'),
    bits: Type.Optional(
      Type.Integer({
        minimum: 2,
        maximum: 16,
        description: 'Bits of the codes of maps that the model computes in float; quantized maps keep theirs. Default 8.',
      }),
    ),
    tile_rows: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 65_535,
        description: 'Rows of a tile that is read without the others. Default 8, or 1 for an accelerator that works in tiles.',
      }),
    ),
    tile_columns: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 65_535,
        description: 'Columns of a tile. Default 128, or 512 for an accelerator that works in tiles.',
      }),
    ),
    samples: Type.Optional(Type.Integer({ minimum: 1, description: 'Calibration samples that the maps are coded on. Default 32.' })),
  },
  strict,
);

export const CompressionStep = Type.Union([
  cleanUp,
  dynamicInt8,
  staticInt8,
  weightOnly,
  mixedPrecision,
  float16Storage,
  float16,
  repairQdq,
  lowRank,
  sparsity,
  structuredPruning,
  layerDropping,
  trainStep,
  fineTuneStep,
  distillStep,
  qatStep,
  activationCompression,
  distributionAwareStep,
  crossLayerScalingStep,
  precisionLoweringStep,
]);
export type CompressionStep = Static<typeof CompressionStep>;

export const QualityGate = Type.Object(
  {
    metric: Type.Optional(
      Type.Enum(['top1', 'top5', 'mse', 'mae', 'psnr', 'ssim', 'mape', 'smape', 'mase'], {
        description: 'Default: top1 for class labels, mse for others.',
      }),
    ),
    max_metric_drop: Type.Optional(
      Type.Number({
        minimum: 0,
        description: 'Largest loss of the metric, absolute (0.01 = one point of top-1; dB of PSNR). Needs labels.',
      }),
    ),
    min_speedup: Type.Optional(
      Type.Number({ exclusiveMinimum: 0, description: 'Time of the source over that of the artifact, measured in turns.' }),
    ),
    min_size_ratio: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'Source bytes over artifact bytes.' })),
    min_sqnr_db: Type.Optional(Type.Number({ description: 'Signal to quantization noise of the outputs, in decibels.' })),
  },
  strict,
);
export type QualityGate = Static<typeof QualityGate>;

export const EvaluationPlan = Type.Object(
  {
    image: Type.Optional(
      Type.Object(
        {
          border: Type.Optional(
            Type.Integer({ minimum: 0, maximum: 65_535, description: 'Pixels on each side that are left out. Default 0.' }),
          ),
          luma: Type.Optional(Type.Boolean({ description: 'Compare the luma of pictures in R, G, B. Default false.' })),
          peak: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'The value of white. Default 1.' })),
        },
        { ...strict, description: 'Labels are pictures: PSNR and SSIM are measured, too.' },
      ),
    ),
  },
  { ...strict, description: 'How models are judged beside what the labels ask for by themselves.' },
);

export const Target = Type.Enum(['x64', 'x64-vnni', 'arm64'], {
  description: "What the artifact must run well on. 'x64' (default): one answer on every x64 CPU; 'x64-vnni': the full int8 range.",
});
export type Target = Static<typeof Target>;

export const Objective = Type.Enum(['latency', 'size'], {
  description:
    "'latency' (default): what this worker measures as slower returns to float; 'size' (default for an accelerator): nothing is timed.",
});
export type Objective = Static<typeof Objective>;

export const CompressionRecipe = Type.Object(
  {
    steps: Type.Array(CompressionStep, { minItems: 1, maxItems: 32 }),
    gate: Type.Optional(QualityGate),
    evaluation: Type.Optional(EvaluationPlan),
    target: Type.Optional(Type.Union([Target, AcceleratorTarget])),
    objective: Type.Optional(Objective),
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
  'static-int8': {
    title: 'Static int8 quantization',
    description:
      'Weights and activations as int8 with ranges found on samples: Conv, Gemm, MatMul and what lies between them. Answers alike on every x64 processor.',
    needs: ['data'],
    schema: staticInt8,
  },
  'weight-only': {
    title: 'Weight-only quantization',
    description:
      'Weights in 2 to 8 bits, activations in float: MatMul, Gemm and embeddings in blocks, convolutions and recurrent layers per channel.',
    needs: [],
    schema: weightOnly,
  },
  'mixed-precision': {
    title: 'Mixed precision',
    description: 'Bits for every layer by its sensitivity, under a budget of bytes or latency.',
    needs: ['data'],
    schema: mixedPrecision,
  },
  float16: {
    title: 'float16 graph',
    description: 'A graph that computes in float16 (or stores bfloat16) for targets that have it; blocked operators stay float32.',
    needs: [],
    schema: float16,
  },
  'repair-qdq': {
    title: 'Repair of quantized graphs',
    description: 'Makes a quantized model from any tool fuse in onnxruntime and answer alike on every processor, where that is exact.',
    needs: [],
    schema: repairQdq,
  },
  'low-rank': {
    title: 'Low-rank factors',
    description:
      'MatMul, Gemm and Conv as products of thin factors, where that loses little and this machine measures a gain: SVD (weighed by the inputs when samples are given), spatial SVD, Tucker-2, CP.',
    needs: [],
    schema: lowRank,
  },
  sparsity: {
    title: 'Sparsity',
    description:
      'Zeros in the weights: unstructured, N:M or in blocks, by magnitude, Wanda or SparseGPT. Smaller files once they are compressed; onnxruntime has no sparse kernels, so no speed.',
    needs: [],
    schema: sparsity,
  },
  'structured-pruning': {
    title: 'Structured pruning',
    description:
      'Removes channels, hidden units and attention heads, in sizes that are measured as faster, and fits what remains to the original network. No artifact is slower than its source.',
    needs: [],
    schema: structuredPruning,
  },
  'layer-dropping': {
    title: 'Layer dropping',
    description:
      'Leaves out residual blocks or encoder layers: what read x + f(x) reads x. A shallower student of the model that it was; let `distill` follow.',
    needs: [],
    schema: layerDropping,
  },
  train: {
    title: 'Training',
    description: 'Trains the weights against the labels of the data set, from where they are. Goes on where it was when it is killed.',
    needs: ['data', 'labels'],
    schema: trainStep,
  },
  'fine-tune': {
    title: 'Fine-tuning',
    description: 'A few epochs against labels after a step that cost accuracy.',
    needs: ['data'],
    schema: fineTuneStep,
  },
  distill: {
    title: 'Distillation',
    description:
      'Trains the model after a teacher: the model of the job as it came in, or another one that comes with the job. Labels are not needed.',
    needs: ['data'],
    schema: distillStep,
  },
  qat: {
    title: 'Quantization-aware training',
    description:
      'Convolutions in 2 to 4 bits, trained as they will be rounded, after the model of the job as it came in. Labels are not needed.',
    needs: ['data'],
    schema: qatStep,
  },
  'cross-layer-scaling': {
    title: 'Cross-layer scaling',
    description:
      'Scales channels between layers, exactly, over Relu, PRelu, LeakyRelu, pooling, branches and sums, so that narrow codes lose less. The model computes the same.',
    needs: ['data'],
    schema: crossLayerScalingStep,
  },
  'precision-lowering': {
    title: 'Precision lowering',
    description:
      'Chooses 2 to 16 bits for every map and weight, in order of the off-chip energy (or bytes) saved for what is lost, until the budget is spent, and fits each layer to its rounded inputs. For accelerators: a CPU gains nothing.',
    needs: ['data'],
    schema: precisionLoweringStep,
  },
  'activation-compression': {
    title: 'Activation compression',
    description:
      'Codes the maps between layers without loss, as an accelerator can on the way to its memory, and reports bits per value, entropy and operations. The model stays as it is.',
    needs: ['data'],
    schema: activationCompression,
  },
  'distribution-aware': {
    title: 'Distribution-aware quantization',
    description:
      'LSTM, GRU and attention in 3 to 8 bits, states and gates too, with ranges chosen by what they do to the outputs on unlabelled windows. Below 8 bits the file becomes smaller, not faster.',
    needs: ['data'],
    schema: distributionAwareStep,
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
  'static-int8': { steps: [{ method: 'static-int8' }] },
  'weight-only': { steps: [{ method: 'weight-only' }] },
  'mixed-precision': { steps: [{ method: 'mixed-precision' }] },
  float16: { steps: [{ method: 'float16' }] },
  'repair-qdq': { steps: [{ method: 'repair-qdq' }] },
  'float16-storage': { steps: [{ method: 'float16-storage' }] },
  'low-rank': { steps: [{ method: 'low-rank' }] },
  'structured-pruning': { steps: [{ method: 'structured-pruning' }] },
  sparsity: { steps: [{ method: 'sparsity' }] },
  train: { steps: [{ method: 'train' }] },
  'fine-tune': { steps: [{ method: 'fine-tune' }] },
  distill: { steps: [{ method: 'distill', teacher: 'given' }] },
  qat: { steps: [{ method: 'qat' }] },
  'cross-layer-scaling': { steps: [{ method: 'cross-layer-scaling' }] },
  'precision-lowering': { steps: [{ method: 'precision-lowering' }] },
  'activation-compression': { steps: [{ method: 'activation-compression' }] },
  embedded: {
    steps: [{ method: 'cross-layer-scaling' }, { method: 'precision-lowering' }, { method: 'activation-compression', bits: 16 }],
  },
  'distribution-aware': { steps: [{ method: 'distribution-aware', bits: 4 }] },
  'prune-distill': { steps: [{ method: 'structured-pruning' }, { method: 'distill' }] },
  'prune-distill-int8': { steps: [{ method: 'structured-pruning' }, { method: 'distill' }, { method: 'static-int8' }] },
} as const satisfies Record<string, CompressionRecipe>;

export type PresetName = keyof typeof presets;

/** Whether a step learns from a model that must come with the job. */
export function needsGivenTeacher(step: CompressionStep): boolean {
  return step.method === 'distill' && step.teacher === 'given';
}

/** Whether the step trains what it rounds with labels, so that only a metric can judge it. */
export function needsJudgedRecovery(step: CompressionStep): boolean {
  return step.method === 'precision-lowering' && (step.recovery?.losses ?? []).some(({ kind }) => labelLossKinds.has(kind));
}
