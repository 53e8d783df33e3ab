/** GET /problems/{code}: what the `type` of an error answer points to. */
import Type from 'typebox';
import { AppError, errorTable, isErrorCode } from '#contracts';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';

const ProblemType = Type.Object({
  object: Type.Literal('problem_type'),
  code: Type.String(),
  title: Type.String(),
  status: Type.Integer({ description: 'Of the answer; for faults found in a job, of the request that would have shown it.' }),
  retryable: Type.Boolean(),
});

export function registerProblems(app: Api): void {
  const schema = {
    tags: ['errors'],
    summary: 'Explain an error code',
    params: Type.Object({ code: Type.String({ maxLength: 64 }) }),
    response: { 200: ProblemType, ...problemResponses },
  };
  app.get('/problems/:code', { config: { scope: 'public' }, schema }, (request) => {
    const { code } = request.params;
    if (!isErrorCode(code)) throw new AppError('not_found', 'There is no such error code.');
    return { object: 'problem_type' as const, code, ...errorTable[code] };
  });
}
