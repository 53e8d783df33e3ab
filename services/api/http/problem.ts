/** Problem details (RFC 9457): the one form of every error answer. */
import Type, { type Static } from 'typebox';
import { type ErrorCode, errorTable, type FieldError } from '#contracts';

export const Problem = Type.Object(
  {
    type: Type.String({ description: 'Where the code is explained.' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    instance: Type.String(),
    code: Type.String({ description: 'Stable; see the type URL.' }),
    request_id: Type.String(),
    retryable: Type.Boolean({ description: 'Whether the same request may succeed later.' }),
    errors: Type.Array(Type.Object({ pointer: Type.String(), code: Type.String(), detail: Type.String() }), {
      description: 'Each fault: a JSON pointer into the body, or query/<name>, header/<name>, path/<name>.',
    }),
  },
  { $id: 'Problem' },
);
export type Problem = Static<typeof Problem>;

export interface ProblemFacts {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly instance: string;
  readonly requestId: string;
  readonly errors?: readonly FieldError[];
}

export function problem({ code, detail, instance, requestId, errors = [] }: ProblemFacts): Problem {
  const { status, title, retryable } = errorTable[code];
  return { type: `/problems/${code}`, title, status, detail, instance, code, request_id: requestId, retryable, errors: [...errors] };
}

/** The error part of a route's `response` schema; buildApp adds the schema that it refers to. */
const ProblemReference = Type.Unsafe<Problem>({ $ref: 'Problem#' });
const answer = { description: 'A problem (RFC 9457).', content: { 'application/problem+json': { schema: ProblemReference } } };
export const problemResponses = { '4xx': answer, '5xx': answer };
