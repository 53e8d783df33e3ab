/** Every kind of queue message: a disposable wake-up that carries ids, never bytes. The Postgres row is the truth. */
import Type, { type Static } from 'typebox';

const strict = { additionalProperties: false } as const;
const Id = Type.String({ minLength: 5, maxLength: 64, pattern: '^[a-z]+_[0-9A-Za-z]+$' });

export const queueCatalog = {
  /** Claim and run one compression job. Message id: `<job id>-<epoch>`. */
  'compression.run': {
    payload: Type.Object({ job_id: Id, tenant_id: Id, epoch: Type.Integer({ minimum: 0 }) }, strict),
    attempts: 3,
  },
  /** Try one webhook delivery that is due. Message id: `<delivery id>-<attempt>`. */
  'webhook.attempt': {
    payload: Type.Object({ delivery_id: Id, tenant_id: Id, attempt: Type.Integer({ minimum: 1 }) }, strict),
    attempts: 3,
  },
} as const satisfies Record<string, { payload: object; attempts: number }>;

export type QueueName = keyof typeof queueCatalog;
export type QueuePayload<Name extends QueueName> = Static<(typeof queueCatalog)[Name]['payload']>;
