/** GET /v1/methods: each method with the JSON Schema of its step, so that clients can build forms from it. */
import Type from 'typebox';
import { methods } from '#contracts';
import { listOf } from '../http/list-page.js';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';

const MethodResource = Type.Object({
  object: Type.Literal('method'),
  name: Type.String(),
  title: Type.String(),
  description: Type.String(),
  needs: Type.Array(Type.Enum(['data', 'labels'])),
  schema: Type.Record(Type.String(), Type.Unknown(), { description: 'JSON Schema of the step.' }),
});

export function listMethods(app: Api): void {
  const data = Object.entries(methods).map(([name, { title, description, needs, schema }]) => ({
    object: 'method' as const,
    name,
    title,
    description,
    needs: [...needs],
    // A plain document: the schema library's own marks stay here.
    schema: JSON.parse(JSON.stringify(schema)) as Record<string, unknown>,
  }));
  const schema = { tags: ['methods'], summary: 'List the methods', response: { 200: listOf(MethodResource), ...problemResponses } };
  app.get('/v1/methods', { config: { scope: 'any' }, schema }, () => ({
    object: 'list' as const,
    data,
    has_more: false,
    next_cursor: null,
  }));
}
