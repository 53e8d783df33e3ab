/** Entity tags (RFC 9110, section 8.8): weak ones from row versions, strong ones from content hashes. */

export const weakTag = (version: number | string): string => `W/"${version}"`;
export const strongTag = (sha256: string): string => `"sha256-${sha256}"`;

/** True when `If-None-Match` names the current tag (weak comparison): the answer is 304. */
export function noneMatchHits(header: string | undefined, current: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  const bare = (tag: string) => tag.trim().replace(/^W\//, '');
  return header.split(',').some((tag) => bare(tag) === bare(current));
}

/** True when a Range header applies: no `If-Range`, or one that names the current tag (strong comparison). */
export function ifRangeHolds(header: string | undefined, current: string): boolean {
  return header === undefined || (header.trim() === current && !current.startsWith('W/'));
}
