/** The steps of a recipe that make tensors narrow for accelerators: `cross-layer-scaling` and `precision-lowering`. */
import Type from 'typebox';
import { losses } from './training-steps.js';

const strict = { additionalProperties: false } as const;
const bits = (description: string) => Type.Optional(Type.Integer({ minimum: 2, maximum: 15, description }));
const granularity = Type.Optional(
  Type.Enum(['tensor', 'channel'], { description: 'One scale for a weight, or one per output channel. Default tensor.' }),
);
const compressed = (description: string) =>
  Type.Optional(Type.Boolean({ description: `${description} Default: whether activation-compression follows in the recipe.` }));

export const crossLayerScalingStep = Type.Object(
  {
    method: Type.Literal('cross-layer-scaling'),
    exponent: Type.Optional(
      Type.Number({
        minimum: 0,
        maximum: 1,
        description:
          '0 balances the weights of the layers that read a channel, 1 the ranges of channels. Default: the one that is best at the outputs once everything is rounded.',
      }),
    ),
    activation_bits: bits('Width of maps at which exponents are compared. Default 4, or 6 where maps are coded without loss.'),
    weight_bits: bits('Width of weights at which exponents are compared. Default 8.'),
    weight_granularity: granularity,
    compressed_maps: compressed('Compare exponents by what maps take once they are coded without loss, too.'),
  },
  strict,
);

export const precisionLoweringStep = Type.Object(
  {
    method: Type.Literal('precision-lowering'),
    min_activation_bits: bits('Narrowest width of a map that is tried. Default 2.'),
    min_weight_bits: bits('Narrowest width of a weight that is tried. Default 2.'),
    activation_bits: bits(
      'Width of all maps between layers; inputs and outputs of the model keep at least 8 bits. Nothing is searched for maps then.',
    ),
    weight_bits: bits('Width of all weights. Nothing is searched for weights then.'),
    weight_granularity: granularity,
    min_sqnr_db: Type.Optional(
      Type.Number({
        minimum: 0,
        maximum: 200,
        description:
          'Least signal to noise ratio of the outputs on the calibration samples, in dB. Default 30, unless the gate has max_metric_drop and labels.',
      }),
    ),
    compressed_maps: compressed('Count maps by what they take coded without loss.'),
    recovery: Type.Optional(
      Type.Object(
        {
          epochs: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'Passes over the data set. Default 1.' })),
          batch_size: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_536, description: 'Samples per step. Default 64.' })),
          learning_rate: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1000, description: 'Default 0.001.' })),
          seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1, description: 'Of the order of the samples. Default 0.' })),
          losses,
          clip_norm: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'Largest norm of all gradients together.' })),
          average_decay: Type.Optional(
            Type.Number({ minimum: 0, exclusiveMaximum: 1, description: 'Share of a moving average that each step keeps.' }),
          ),
        },
        {
          ...strict,
          description:
            'Trains weights, biases and scales with everything rounded, for each of at most four choices of widths that are compared with the budget; after the model as it came to the step, so that no labels are needed, unless the losses name them. Samples must be of one size. Default: no training.',
        },
      ),
    ),
    exclude: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 512 }), {
        maxItems: 10_000,
        description: "Nodes whose weights keep 16 bits, by name; '*' stands for any characters.",
      }),
    ),
  },
  strict,
);
