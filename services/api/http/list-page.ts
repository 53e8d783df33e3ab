/** Lists: `?limit=&after=`, and the body that goes with them. */
import type { FastifyReply } from 'fastify';
import Type, { type TSchema } from 'typebox';
import type { CursorCodec, CursorPosition } from './cursor.js';

const limitDefault = 20;
const limitMax = 100;

export const pageQuery = {
  limit: Type.Optional(
    Type.Integer({ minimum: 1, description: `Rows per page, default ${limitDefault}; above ${limitMax} means ${limitMax}.` }),
  ),
  after: Type.Optional(
    Type.String({ minLength: 1, maxLength: 1024, description: 'next_cursor of the page before, with the same filters.' }),
  ),
};

export const listOf = <Item extends TSchema>(item: Item) =>
  Type.Object({
    object: Type.Literal('list'),
    data: Type.Array(item),
    has_more: Type.Boolean(),
    next_cursor: Type.Union([Type.String(), Type.Null()]),
  });

/** The part of a request that decides its page. */
export interface PagedRequest {
  readonly url: string;
  readonly principal: { readonly tenantId: string };
  readonly query: { readonly limit?: number | undefined; readonly after?: string | undefined };
}

export interface ListPages {
  readonly limit: number;
  readonly after: CursorPosition | null;
  /** The body of the answer, and its Link header. */
  answer<Row extends CursorPosition, Item>(
    reply: FastifyReply,
    page: { readonly rows: readonly Row[]; readonly hasMore: boolean },
    toItem: (row: Row) => Item,
  ): { object: 'list'; data: Item[]; has_more: boolean; next_cursor: string | null };
}

/** Reads the paging part of a list request. @throws AppError(request_invalid) for a foreign cursor */
export function listPages(request: PagedRequest, cursors: CursorCodec): ListPages {
  const { limit = limitDefault, after, ...filters } = request.query;
  const path = request.url.split('?')[0] ?? '';
  const scope = JSON.stringify([request.principal.tenantId, path, Object.entries(filters).sort()]);
  return {
    limit: Math.min(limit, limitMax),
    after: after === undefined ? null : cursors.decode(after, scope),
    answer: (reply, { rows, hasMore }, toItem) => {
      const last = rows.at(-1);
      const next = hasMore && last !== undefined ? cursors.encode(last, scope) : null;
      if (next !== null) {
        const query = new URLSearchParams({ ...(filters as Record<string, string>), limit: String(limit), after: next });
        reply.header('Link', `<${path}?${query}>; rel="next"`);
      }
      return { object: 'list', data: rows.map(toItem), has_more: hasMore, next_cursor: next };
    },
  };
}
