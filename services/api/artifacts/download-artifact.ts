/** GET, HEAD /v1/artifacts/{id}/content: the bytes, resumable and cacheable for ever; a redirect where the store can sign one. */
import type { FastifyReply } from 'fastify';
import Type from 'typebox';
import { AppError } from '#contracts';
import type { ApiDeps, ArtifactRecord } from '../deps.js';
import { type ByteRange, parseByteRange } from '../http/byte-range.js';
import { attachment } from '../http/content-disposition.js';
import { reprDigest } from '../http/declared-digest.js';
import { ifRangeHolds, noneMatchHits, strongTag } from '../http/entity-tag.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { findArtifact } from './get-artifact.js';

type DownloadDeps = Pick<ApiDeps, 'artifacts' | 'blobs'>;

const presignedSeconds = 15 * 60;

const Query = Type.Object(
  { proxy: Type.Optional(Type.Boolean({ description: 'Send the bytes through the API even where the store could be asked directly.' })) },
  { additionalProperties: false },
);

const bytes = { content: { 'application/octet-stream': { schema: Type.String({ format: 'binary' }) } } };

export function downloadArtifact(app: Api, deps: DownloadDeps): void {
  const schema = {
    tags: ['artifacts'],
    summary: 'Download an artifact',
    description: 'Takes Range (one range), If-Range and If-None-Match.',
    params: idParams('artifact'),
    querystring: Query,
    response: {
      200: { description: 'The file.', ...bytes },
      206: { description: 'Part of the file.', ...bytes },
      304: Type.Null({ description: 'You have it already.' }),
      307: Type.Null({ description: 'Fetch it from the address in Location, within 15 minutes.' }),
      ...problemResponses,
    },
  };
  const config = { scope: 'artifacts:read', exemptFromPressure: true } as const;
  // Not the HEAD route that comes by itself: that one would read the file to its end.
  const route = { method: ['GET', 'HEAD'] as ['GET', 'HEAD'], url: '/v1/artifacts/:id/content', exposeHeadRoute: false, config, schema };
  app.route({
    ...route,
    handler: async (request, reply) => {
      const { tenantId } = request.principal;
      const artifact = await findArtifact(deps, tenantId, request.params.id);
      const tag = strongTag(artifact.sha256);
      describe(reply, artifact, tag);
      if (noneMatchHits(request.headers['if-none-match'], tag)) return reply.code(304).send(null);
      const address = request.query.proxy === true ? null : await presigned(deps, tenantId, artifact);
      if (address !== null) return reply.header('Cache-Control', 'private, no-store').redirect(address, 307);
      const header = ifRangeHolds(request.headers['if-range']?.toString(), tag) ? request.headers.range : undefined;
      const range = parseByteRange(header, artifact.bytes);
      return sendRange({ reply, deps, tenantId }, artifact, range);
    },
  });
}

function describe(reply: FastifyReply, artifact: ArtifactRecord, tag: string): void {
  reply
    .header('ETag', tag)
    .header('Accept-Ranges', 'bytes')
    .header('Repr-Digest', reprDigest(artifact.sha256))
    .header('Content-Disposition', attachment(artifact.name))
    .header('Cache-Control', 'private, max-age=31536000, immutable')
    .header('X-Content-Type-Options', 'nosniff')
    .type(artifact.mediaType);
}

function presigned({ blobs }: DownloadDeps, tenantId: string, { sha256, name, mediaType }: ArtifactRecord): Promise<string | null> {
  const options = { expiresSeconds: presignedSeconds, contentDisposition: attachment(name), contentType: mediaType };
  return blobs.presignedUrl(tenantId, sha256, options);
}

interface Exchange {
  readonly reply: FastifyReply;
  readonly deps: DownloadDeps;
  readonly tenantId: string;
}

async function sendRange({ reply, deps, tenantId }: Exchange, artifact: ArtifactRecord, range: ByteRange): Promise<FastifyReply> {
  if (range.kind === 'unsatisfiable') {
    const headers = { 'Content-Range': `bytes */${artifact.bytes}` };
    throw new AppError('range_not_satisfiable', `The file has ${artifact.bytes} bytes.`, { headers });
  }
  const part = range.kind === 'part' ? { start: range.start, end: range.end } : null;
  const length = part === null ? artifact.bytes : part.end - part.start + 1;
  if (part !== null) reply.code(206).header('Content-Range', `bytes ${part.start}-${part.end}/${artifact.bytes}`);
  reply.header('Content-Length', length);
  if (reply.request.method === 'HEAD') return reply.send('');
  return reply.send(await deps.blobs.open(tenantId, artifact.sha256, part ?? undefined));
}
