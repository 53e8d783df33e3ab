/** Keyset pagination, newest first: by (created_at, id), so that a page stays right while rows are added. */

/** The last row of the page before. */
export interface PagePosition {
  readonly createdAt: Date;
  readonly id: string;
}

export interface PageRequest {
  readonly limit: number;
  readonly after: PagePosition | null;
}

export interface Page<Row> {
  readonly rows: readonly Row[];
  readonly hasMore: boolean;
}

/** The part of `where` that skips what earlier pages showed. */
export function afterPosition(after: PagePosition | null) {
  if (after === null) return {};
  return { OR: [{ createdAt: { lt: after.createdAt } }, { createdAt: after.createdAt, id: { lt: after.id } }] };
}

/** Cuts a result that was asked for one row more than the page holds. */
export function toPage<Row>(rows: readonly Row[], limit: number): Page<Row> {
  return { rows: rows.slice(0, limit), hasMore: rows.length > limit };
}

export const newestFirst = [{ createdAt: 'desc' as const }, { id: 'desc' as const }];
