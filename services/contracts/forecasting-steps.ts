/** The step of a recipe that quantizes forecasters: `distribution-aware`. */
import Type from 'typebox';
import { losses } from './training-steps.js';

const strict = { additionalProperties: false } as const;

const width = (description: string) => Type.Optional(Type.Enum([3, 4, 5, 6, 7, 8], { description }));

const tensorBits = Type.Object(
  {
    weights: width('Weights, each row with a scale of its own.'),
    input: width('What a recurrent layer reads.'),
    gates: width('Sums that sigmoid and tanh are taken of.'),
    cell: width('State of an LSTM: the tensor that decides in few bits.'),
    hidden: width('What a recurrent layer makes, from step to step too.'),
    projections: width('What products with weights make: queries, keys, values.'),
    scores: width('What Softmax reads.'),
    probabilities: width('What Softmax makes.'),
    context: width('Other products of two activations.'),
    activations: width('Inputs of products with weights that are not rounded yet.'),
  },
  { ...strict, description: 'Bits of single kinds of tensors; the others have `bits`.' },
);

export const distributionAwareStep = Type.Object(
  {
    method: Type.Literal('distribution-aware'),
    bits: width("Bits of all tensors, or their mean with allocation 'sensitivity'. Default 8."),
    tensor_bits: Type.Optional(tensorBits),
    allocation: Type.Optional(
      Type.Enum(['uniform', 'sensitivity'], {
        description:
          "'uniform' (default): the same bits for all; 'sensitivity': 3 to 8 bits for each tensor by what narrowing it alone does to the outputs, with `bits` as the mean over the weights and over the activations.",
      }),
    ),
    distance: Type.Optional(
      Type.Enum(['error', 'kl', 'wasserstein', 'moments'], {
        description:
          "What ranges are judged by: the squared error of the outputs (default), or how far apart the distributions of the outputs lie ('kl': Kullback-Leibler, 'wasserstein': Wasserstein-1, 'moments': mean and deviation).",
      }),
    ),
    per_channel: Type.Optional(
      Type.Boolean({
        description:
          'A range for each hidden unit, gate row and feature, and a scale for each row of a weight; false: one per tensor. Default true.',
      }),
    ),
    ranges: Type.Optional(
      Type.Enum(['extremes', 'least-error', 'searched'], {
        description:
          "'extremes': smallest and largest value seen; 'least-error': least error of each channel, behind sigmoid and tanh for gates; 'searched' (default): those, then stretched and shrunk by what that does to the outputs.",
      }),
    ),
    correct_biases: Type.Optional(
      Type.Boolean({
        description: 'Take back what rounding shifts on average, where samples that were held back say that it helps. Default true.',
      }),
    ),
    refit_head: Type.Optional(
      Type.Boolean({
        description:
          'Fit the last layer to the float outputs by least squares, where samples that were held back say that it helps. Default true.',
      }),
    ),
    integer_kernels: Type.Optional(
      Type.Enum(['measure', 'always', 'never'], {
        description:
          "At 8 bits: the integer kernels of the runtime where this machine measures them as faster than the loop over codes ('measure', default), 'always' or 'never'.",
      }),
    ),
    training: Type.Optional(
      Type.Object(
        {
          epochs: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'Passes over the data set. Default 1.' })),
          batch_size: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_536, description: 'Samples per step. Default 64.' })),
          learning_rate: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'Default 0.0005.' })),
          seed: Type.Optional(Type.Integer({ minimum: 0, description: 'Of the order of the samples. Default 0.' })),
          losses,
          clip_norm: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'Largest norm of a gradient.' })),
        },
        {
          ...strict,
          description:
            'Weights, biases and steps trained after the model of the job as it came in, with every tensor rounded as in the artifact. Without `losses` no labels are read, and it is kept where it brings the outputs nearer. Loops are written out for it: for windows of some hundred steps.',
        },
      ),
    ),
    samples: Type.Optional(
      Type.Integer({ minimum: 16, maximum: 100_000, description: 'At most so many samples, spread evenly over the data. Default 1024.' }),
    ),
    exclude: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 512 }), {
        maxItems: 10_000,
        description: "Nodes to leave in float, by name. '*' stands for any characters.",
      }),
    ),
  },
  strict,
);
