/** The OpenAPI 3.1 document from the route schemas: /openapi.json, with a UI at /docs. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { Api } from '../http/typed-app.js';

const description = [
  'Model compression as a service: a trained ONNX model and a recipe in, a smaller, faster, measured model out.',
  'Errors are problem details (RFC 9457) with a stable `code`. Times are RFC 3339 in UTC. Lists are newest first; follow `next_cursor`.',
].join('\n\n');

/** For the document only: the bodies of uploads are streams, which no schema checks. */
const uploadBody = {
  content: {
    'application/octet-stream': { schema: { type: 'string', format: 'binary', description: 'The file itself.' } },
    'multipart/form-data': {
      schema: {
        type: 'object',
        properties: { name: { type: 'string' }, file: { type: 'string', format: 'binary' } },
        required: ['file'],
        additionalProperties: false,
      },
    },
  },
};

export async function addOpenApi(app: Api, { version }: { readonly version: string }): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Lathe', version, description, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
      servers: [{ url: '/' }],
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'An API key.' },
          apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
        },
      },
      security: [{ bearer: [] }, { apiKey: [] }],
    },
    transform: ({ schema, url, route }) => {
      const scope = route.config?.scope;
      const extra =
        scope === 'public' ? { security: [] } : { description: [schema?.description, scopeNote(scope)].filter(Boolean).join(' ') };
      const upload = schema?.consumes?.includes('application/octet-stream') === true ? { body: uploadBody } : {};
      return { schema: { ...schema, ...extra, ...upload }, url };
    },
    refResolver: { buildLocalReference: (json, _base, _fragment, index) => (typeof json.$id === 'string' ? json.$id : `schema-${index}`) },
  });
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: true, uiConfig: { docExpansion: 'list', deepLinking: true } });
}

function scopeNote(scope: string | undefined): string {
  return scope === 'any' ? 'Any valid key.' : `Scope: \`${scope}\`.`;
}

/** After the routes. */
export function addOpenApiRoute(app: Api): void {
  app.get('/openapi.json', { config: { scope: 'public' }, schema: { hide: true } }, () => app.swagger());
}
