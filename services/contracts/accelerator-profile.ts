/** Embedded accelerators as targets of a recipe: a shipped profile by name, or a profile of one's own. */
import Type, { type Static } from 'typebox';

const strict = { additionalProperties: false } as const;
const widths = (description: string) =>
  Type.Array(Type.Integer({ minimum: 1, maximum: 64 }), { minItems: 1, maxItems: 64, uniqueItems: true, description });
const picojoules = (description: string) => Type.Number({ minimum: 0, description });

/** Names of the profiles that come with Lathe. */
export const acceleratorNames = ['eyeriss-16', 'variable-precision', 'ethos-u', 'dpu-pow2', 'microcontroller'] as const;

export const AcceleratorProfile = Type.Object(
  {
    name: Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,62}$' }),
    title: Type.String({ minLength: 1, maxLength: 200 }),
    source: Type.String({ minLength: 1, maxLength: 2000, description: 'Where the figures come from, and what is assumed.' }),
    buffers: Type.Object(
      { weight_bytes: Type.Number({ exclusiveMinimum: 0 }), map_bytes: Type.Number({ exclusiveMinimum: 0 }) },
      { ...strict, description: 'On-chip bytes for the weights of a layer and for its maps.' },
    ),
    words: Type.Object(
      { weights: widths('Bits of a word of weights in memory.'), maps: widths('The same for maps.') },
      { ...strict, description: 'A code takes the narrowest word that holds it.' },
    ),
    scales: Type.Optional(
      Type.Literal('powers-of-two', {
        description: 'Scales of maps and weights that precision-lowering may choose. Default: any.',
      }),
    ),
    dataflow: Type.Union([
      Type.Object(
        {
          kind: Type.Literal('layer-by-layer'),
          keeps_maps: Type.Optional(Type.Boolean({ description: 'Maps stay on the chip where everything alive fits the buffer.' })),
        },
        strict,
      ),
      Type.Object({ kind: Type.Literal('tiles') }, strict),
      Type.Object({ kind: Type.Literal('fused-rows') }, strict),
    ]),
    picojoules: Type.Object(
      {
        dram_byte: picojoules('Of a byte to or from memory.'),
        sram_byte: picojoules('Of a byte to or from the buffers.'),
        multiply: Type.Array(
          Type.Object({ bits: Type.Integer({ minimum: 1, maximum: 64 }), picojoules: picojoules('Of one multiplication.') }, strict),
          { minItems: 1, maxItems: 64, description: 'By the bits of the wider operand.' },
        ),
      },
      strict,
    ),
  },
  { ...strict, description: 'What the model of off-chip traffic knows of an accelerator.' },
);
export type AcceleratorProfile = Static<typeof AcceleratorProfile>;

export const AcceleratorTarget = Type.Object(
  { accelerator: Type.Union([Type.Enum([...acceleratorNames]), AcceleratorProfile]) },
  { ...strict, description: 'An embedded accelerator: the report counts off-chip bytes and energy before and after.' },
);
