/** The body of POST /v1/jobs, and the job that follows from it. */
import Type, { type Static } from 'typebox';
import { CompressionRecipe, newId, type PresetName, presets } from '#contracts';
import type { NewJob } from '../deps.js';
import { sha256OfJson } from '../http/idempotency-key.js';
import { idOf, strict } from '../http/resource-schemas.js';

const presetNames = Object.keys(presets) as PresetName[];

export const JobRequest = Type.Object(
  {
    model_id: idOf('model'),
    recipe: Type.Union([Type.Enum(presetNames, { description: 'The name of a preset.' }), CompressionRecipe]),
    teacher_model_id: Type.Optional(
      idOf('model', 'Another model of yours, that a step with "method": "distill" and "teacher": "given" learns from.'),
    ),
    data: Type.Optional(
      Type.Object(
        {
          calibration_id: Type.Optional(idOf('dataset')),
          evaluation_id: Type.Optional(idOf('dataset')),
        },
        strict,
      ),
    ),
    metadata: Type.Optional(
      Type.Record(Type.String({ pattern: '^.{1,64}$' }), Type.String({ maxLength: 512 }), {
        maxProperties: 16,
        description: 'Yours: up to 16 names with values of up to 512 characters; returned with the job and in its webhooks.',
      }),
    ),
    webhook_url: Type.Optional(Type.String({ maxLength: 2048, description: 'Receives the event that ends this job.' })),
    priority: Type.Optional(Type.Integer({ minimum: 0, maximum: 100, description: 'Larger is sooner. Default 0.' })),
    deadline_seconds: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 2_592_000, description: 'The job expires when it has not started by then.' }),
    ),
    timeout_seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 604_800, description: 'Longest time that the job may run.' })),
  },
  strict,
);
export type JobRequest = Static<typeof JobRequest>;

export function resolveRecipe(recipe: JobRequest['recipe']): CompressionRecipe {
  return typeof recipe === 'string' ? presets[recipe] : recipe;
}

export interface RequestOrigin {
  readonly requestId: string;
  readonly traceparent: string | null;
}

export function newJobOf(request: JobRequest, { requestId, traceparent }: RequestOrigin): NewJob {
  const createdAt = new Date();
  const recipe = resolveRecipe(request.recipe);
  const { deadline_seconds: deadline } = request;
  return {
    id: newId('job', createdAt.getTime()),
    modelId: request.model_id,
    teacherModelId: request.teacher_model_id ?? null,
    calibrationId: request.data?.calibration_id ?? null,
    evaluationId: request.data?.evaluation_id ?? null,
    recipe,
    recipeSha256: sha256OfJson(recipe),
    priority: request.priority ?? 0,
    timeoutSeconds: request.timeout_seconds ?? null,
    deadlineAt: deadline === undefined ? null : new Date(createdAt.getTime() + deadline * 1_000),
    metadata: request.metadata ?? {},
    webhookUrl: request.webhook_url ?? null,
    retriedFromId: null,
    requestId,
    traceparent,
    createdAt,
  };
}

const traceparentPattern = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** W3C trace context, kept with the job so that its run can be linked to this request. */
export function traceparentOf(header: unknown): string | null {
  return typeof header === 'string' && traceparentPattern.test(header) ? header : null;
}
