/** The Range header of a download (RFC 9110, section 14): one range of bytes; several at once get the whole, which the RFC allows. */

export type ByteRange =
  | { readonly kind: 'whole' }
  /** Both ends included. */
  | { readonly kind: 'part'; readonly start: number; readonly end: number }
  | { readonly kind: 'unsatisfiable' };

const single = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i;

/** What to send of `size` bytes. Headers that are not one range of bytes are ignored, as the RFC asks. */
export function parseByteRange(header: string | undefined, size: number): ByteRange {
  const [, first = '', last = ''] = single.exec(header ?? '') ?? [];
  if (first === '' && last === '') return { kind: 'whole' };
  if (first === '') {
    const suffix = Math.min(Number(last), size);
    return suffix === 0 ? { kind: 'unsatisfiable' } : { kind: 'part', start: size - suffix, end: size - 1 };
  }
  const start = Number(first);
  const end = last === '' ? size - 1 : Math.min(Number(last), size - 1);
  if (last !== '' && Number(last) < start) return { kind: 'whole' };
  return start >= size ? { kind: 'unsatisfiable' } : { kind: 'part', start, end };
}
