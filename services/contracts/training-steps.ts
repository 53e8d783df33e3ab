/** The steps of a recipe that learn: `train`, `fine-tune`, `distill` and `qat`, with their optimizers, schedules, augmentations and losses. */
import Type from 'typebox';

const strict = { additionalProperties: false } as const;
const names = (what: string) =>
  Type.Array(Type.String({ minLength: 1, maxLength: 512 }), { maxItems: 10_000, description: `${what} '*' stands for any characters.` });
const above0 = (description: string) => Type.Optional(Type.Number({ exclusiveMinimum: 0, description }));
const share = (description: string) => Type.Optional(Type.Number({ minimum: 0, maximum: 1, description }));
const keptShare = Type.Number({ minimum: 0, exclusiveMaximum: 1 });

const weightDecay = Type.Optional(
  Type.Number({ minimum: 0, description: 'Default 0, for adamw 0.01; biases and normalizations are left alone.' }),
);

const optimizer = Type.Union(
  [
    Type.Object(
      {
        name: Type.Literal('sgd'),
        momentum: Type.Optional(Type.Number({ minimum: 0, exclusiveMaximum: 1, description: 'Default 0.9.' })),
        nesterov: Type.Optional(Type.Boolean({ description: 'Default false.' })),
        weight_decay: weightDecay,
      },
      strict,
    ),
    Type.Object(
      {
        name: Type.Enum(['adam', 'adamw', 'lion']),
        betas: Type.Optional(Type.Tuple([keptShare, keptShare], { description: 'Default 0.9 and 0.999; for lion 0.9 and 0.99.' })),
        weight_decay: weightDecay,
      },
      strict,
    ),
  ],
  { description: 'Default adamw.' },
);

const schedule = Type.Union(
  [
    Type.Object({ name: Type.Literal('constant') }, strict),
    Type.Object({ name: Type.Literal('cosine'), final_share: share('Share of the rate that is left at the end. Default 0.') }, strict),
    Type.Object(
      {
        name: Type.Literal('step'),
        at: Type.Array(Type.Number({ minimum: 0, maximum: 1 }), {
          minItems: 1,
          maxItems: 100,
          description: 'Shares of the run after which the rate falls.',
        }),
        factor: Type.Optional(
          Type.Number({ exclusiveMinimum: 0, maximum: 1, description: 'What the rate is multiplied with. Default 0.1.' }),
        ),
      },
      strict,
    ),
    Type.Object(
      {
        name: Type.Literal('one-cycle'),
        rise_share: Type.Optional(
          Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1, description: 'Share of the run in which the rate rises. Default 0.3.' }),
        ),
      },
      strict,
    ),
  ],
  { description: 'How the learning rate goes on after the warm-up. Default cosine.' },
);

const augmentation = Type.Union([
  Type.Object(
    { name: Type.Literal('flip') },
    { ...strict, description: 'Images: mirrored left to right, every other time; labels that are pictures alike.' },
  ),
  Type.Object(
    { name: Type.Literal('crop'), padding: Type.Integer({ minimum: 1, maximum: 1024 }) },
    { ...strict, description: 'Images: shifted by up to `padding` pixels, zeros where nothing was; labels that are pictures alike.' },
  ),
  Type.Object(
    { name: Type.Literal('cutout'), size: Type.Integer({ minimum: 1, maximum: 4096 }) },
    { ...strict, description: 'Images: a square of `size` pixels a side becomes zero.' },
  ),
  Type.Object(
    { name: Type.Literal('mixup'), alpha: Type.Number({ exclusiveMinimum: 0, maximum: 2 }) },
    { ...strict, description: 'Each sample with a share of another one, targets alike; a small alpha changes most samples little.' },
  ),
  Type.Object(
    { name: Type.Literal('jitter'), steps: Type.Integer({ minimum: 1, maximum: 65_536 }) },
    { ...strict, description: 'Series: the window moves by up to `steps` in time.' },
  ),
  Type.Object(
    { name: Type.Literal('noise'), deviation: Type.Number({ exclusiveMinimum: 0 }) },
    { ...strict, description: 'Normal noise of this standard deviation, in the units of the input.' },
  ),
]);

const term = {
  weight: above0('Share of this loss in the sum. Default 1.'),
  output: Type.Optional(Type.Integer({ minimum: 0, maximum: 1023, description: 'Which output of the model, from 0. Default 0.' })),
};
const delta = above0('Errors beyond it count in proportion, not squared. Default 1.');
const temperature = above0('Default 4.');
const border = Type.Optional(
  Type.Integer({
    minimum: 0,
    maximum: 4096,
    description: 'Pixels at each edge of a picture that do not count, as what lies around a patch is not known. Default 0.',
  }),
);

const labelLosses = [
  Type.Object(
    { kind: Type.Enum(['cross-entropy', 'binary-cross-entropy', 'frequency']), ...term },
    { ...strict, description: "Against labels; 'frequency' is of pictures." },
  ),
  Type.Object({ kind: Type.Enum(['mse', 'mae']), ...term, border }, { ...strict, description: 'Against labels that are values.' }),
  Type.Object({ kind: Type.Literal('huber'), ...term, delta, border }, { ...strict, description: 'Against labels.' }),
  Type.Object(
    {
      kind: Type.Literal('quantile'),
      ...term,
      quantiles: Type.Array(Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1 }), {
        minItems: 1,
        maxItems: 1000,
        description: 'Those that the last axis of the output forecasts, in this order; a single one is forecast by the whole output.',
      }),
    },
    { ...strict, description: 'Forecasts of quantiles against labels: pinball loss.' },
  ),
] as const;

const valueName = (description: string) => Type.String({ minLength: 1, maxLength: 512, description });
const hint = {
  weight: term.weight,
  student: Type.Optional(valueName('Name of a value inside the student. Default: that of the teacher.')),
  teacher: Type.Optional(valueName('Name of a value inside the teacher. Default: that of the student.')),
};
const teacherLosses = [
  Type.Object(
    { kind: Type.Literal('kd'), ...term, temperature, standardize: Type.Optional(Type.Boolean({ description: 'Default false.' })) },
    { ...strict, description: 'Class scores of the teacher, softened; `standardize` compares them as z-scores.' },
  ),
  Type.Object(
    {
      kind: Type.Literal('dkd'),
      ...term,
      temperature,
      alpha: Type.Optional(Type.Number({ minimum: 0, description: 'Weight of the target class. Default 1.' })),
      beta: Type.Optional(Type.Number({ minimum: 0, description: 'Weight of the other classes. Default 4.' })),
    },
    { ...strict, description: 'The same, target class and other classes apart; needs labels.' },
  ),
  Type.Object(
    {
      kind: Type.Literal('dist'),
      ...term,
      temperature: above0('Default 1.'),
      inter: Type.Optional(Type.Number({ minimum: 0, description: 'Weight of the relations between classes. Default 1.' })),
      intra: Type.Optional(Type.Number({ minimum: 0, description: 'Weight of the relations between samples. Default 1.' })),
    },
    { ...strict, description: 'Class scores of the teacher, compared by their correlations alone.' },
  ),
  Type.Object(
    { kind: Type.Enum(['teacher-values', 'teacher-mae']), ...term, border },
    { ...strict, description: 'Outputs of the teacher that are values.' },
  ),
  Type.Object(
    { kind: Type.Enum(['teacher-frequency', 'teacher-probabilities']), ...term },
    { ...strict, description: 'Outputs of the teacher: pictures, or independent probabilities.' },
  ),
  Type.Object({ kind: Type.Literal('teacher-huber'), ...term, delta, border }, { ...strict, description: 'Values of the teacher.' }),
  Type.Object(
    {
      kind: Type.Enum(['attention', 'similarity', 'relation', 'relation-angles', 'feature', 'affinity', 'attention-map']),
      ...hint,
    },
    {
      ...strict,
      description:
        "Values inside both networks; for 'feature', of one width or of two with a matrix trained between them. Without names, all pairs of layers that every path passes through, matched in order and by relative depth, share the weight; for 'attention-map', the last attentions.",
    },
  ),
  Type.Object(
    {
      kind: Type.Literal('value-relation'),
      ...hint,
      heads: Type.Optional(
        Type.Integer({ minimum: 1, maximum: 1024, description: 'Heads that the values of both are divided into. Default: their own.' }),
      ),
    },
    { ...strict, description: 'How alike the values (or queries, or keys) of tokens are. Without names: those of the last attentions.' },
  ),
] as const;

/** Kinds of losses that compare with labels, alone or beside a teacher. */
export const labelLossKinds: ReadonlySet<string> = new Set([
  ...labelLosses.flatMap(({ properties: { kind } }) => ('enum' in kind ? kind.enum : [kind.const])),
  'dkd',
]);

const lossCount = { minItems: 1, maxItems: 64, description: 'The sum of these is made small. Default: by the kind of each output.' };

const options = {
  initialize: Type.Optional(
    Type.Enum(['keep', 'fresh'], { description: "'fresh' begins with random weights, 'keep' (default) with those of the model." }),
  ),
  epochs: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 100_000,
      description: 'Passes over the data set. Default 10 for train, 3 for fine-tune and distill, 1 for qat.',
    }),
  ),
  batch_size: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 65_536, description: 'Samples per step. Default 64, or what the model fixes.' }),
  ),
  seed: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 2 ** 32 - 1,
      description: 'Of the order of the samples and of the augmentation. Default 0. The same seed gives the same weights.',
    }),
  ),
  optimizer: Type.Optional(optimizer),
  learning_rate: Type.Optional(
    Type.Number({ exclusiveMinimum: 0, maximum: 1000, description: 'The highest of the run. Default 0.001, for qat 0.0002.' }),
  ),
  schedule: Type.Optional(schedule),
  warm_up_steps: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 10_000_000, description: 'Steps in which the learning rate rises. Default 0.' }),
  ),
  clip_norm: above0('Largest norm of all gradients together. Default: none.'),
  average_decay: Type.Optional(
    Type.Number({
      minimum: 0,
      exclusiveMaximum: 1,
      description: 'Share of a moving average of the weights that each step keeps; the averages are what is written.',
    }),
  ),
  augmentation: Type.Optional(
    Type.Array(augmentation, { maxItems: 16, description: 'What happens to samples on their way into a step, in this order.' }),
  ),
  trainable: Type.Optional(names('Names of the only constants that move.')),
  frozen: Type.Optional(names('Names of constants that do not move.')),
  batch_normalization: Type.Optional(
    Type.Enum(['batch', 'fixed', 'insert'], {
      description:
        "'batch' (default) normalizes by the batch and moves the running statistics; 'fixed' keeps them; 'insert' also puts fresh ones behind convolutions that have none, and folds them away again. 'slimming' means 'insert'.",
    }),
  ),
  task: Type.Optional(Type.Enum(['classification', 'regression'], { description: 'What outputs mean, where labels do not tell.' })),
};

const regularizer = Type.Optional(
  Type.Object(
    {
      kind: Type.Enum(['slimming', 'group-lasso', 'group-growing'], {
        description:
          "'slimming': the scales of BatchNormalizations whose channels can be pruned, with fresh ones where a model has folded its own; 'group-lasso': channels, features and heads with all their weights, as structured-pruning would take them out; 'group-growing': the same, the small ones most, and more and more.",
      }),
      strength: above0(
        "What the penalty is multiplied with in the loss, for 'group-growing' at the end. Default 0.0001, for 'group-growing' 0.01.",
      ),
    },
    { ...strict, description: 'What is pulled to zero beside the losses, for a structured-pruning behind this step. Default: nothing.' },
  ),
);

export const losses = Type.Optional(Type.Array(Type.Union([...labelLosses, ...teacherLosses]), lossCount));

export const trainStep = Type.Object(
  { method: Type.Literal('train'), ...options, regularizer, losses: Type.Optional(Type.Array(Type.Union([...labelLosses]), lossCount)) },
  strict,
);

export const fineTuneStep = Type.Object({ method: Type.Literal('fine-tune'), ...options, regularizer, losses }, strict);

export const distillStep = Type.Object(
  {
    method: Type.Literal('distill'),
    teacher: Type.Optional(
      Type.Enum(['source', 'given'], {
        description:
          "'source' (default): the model of the job as it came in; 'given': the one that comes with the job (`teacher_model_id`, or --teacher).",
      }),
    ),
    ...options,
    regularizer,
    losses,
  },
  strict,
);

export const qatStep = Type.Object(
  {
    method: Type.Literal('qat'),
    weight_bits: Type.Optional(
      Type.Enum([2, 3, 4, 8], { description: 'Bits of the weights of convolutions and of products with a constant matrix. Default 4.' }),
    ),
    activation_bits: Type.Optional(
      Type.Enum([8, 32], { description: 'Bits of the inputs of those layers; 32 leaves them in float. Default 8.' }),
    ),
    activation_steps: Type.Optional(
      Type.Enum(['fixed', 'lsq', 'lsq+', 'pact'], {
        description:
          "Steps of those inputs: as calibrated ('fixed'), or learned. 'lsq' (default): the step; 'lsq+': the zero point, too, where values go below 0; 'pact': the upper bound, where they begin at 0.",
      }),
    ),
    protect_ends: Type.Optional(Type.Boolean({ description: 'First and last layer keep 8 bits. Default true.' })),
    rounding: Type.Optional(
      Type.Enum(['rtn', 'mse', 'hessian', 'gptq', 'adaround', 'block-reconstruction'], {
        description: "What training starts from. Default 'gptq'.",
      }),
    ),
    exclude: Type.Optional(names('Nodes to leave in float, by name.')),
    ...options,
    epochs: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 100_000, description: 'Passes over the data set; 0 rounds and trains nothing. Default 1.' }),
    ),
    losses,
  },
  strict,
);
