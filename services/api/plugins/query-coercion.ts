/** Query strings are text; bodies are not coerced. This turns what a schema calls a number or boolean into one, and leaves the rest to ajv. */
import type { Api } from '../http/typed-app.js';

interface QuerySchema {
  readonly properties?: Readonly<Record<string, { readonly type?: string }>>;
}

export function addQueryCoercion(app: Api): void {
  app.addHook('preValidation', async (request) => {
    const schema = request.routeOptions.schema?.querystring as QuerySchema | undefined;
    const query = request.query as Record<string, unknown>;
    for (const [name, { type }] of Object.entries(schema?.properties ?? {})) {
      const value = query[name];
      if (typeof value !== 'string') continue;
      if (type === 'integer' && /^-?\d{1,15}$/.test(value)) query[name] = Number(value);
      if (type === 'boolean' && /^(true|false|1|0|)$/.test(value)) query[name] = value === 'true' || value === '1' || value === '';
    }
  });
}
