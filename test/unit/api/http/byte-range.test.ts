/** The Range header: what is sent is always inside the file and is what was asked for. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseByteRange } from '../../../../services/api/http/byte-range.js';

const size = fc.integer({ min: 1, max: 1_000_000 });

describe('parseByteRange', () => {
  it('gives the bytes from first to last, cut at the end of the file', () => {
    fc.assert(
      fc.property(size, fc.nat(2_000_000), fc.nat(2_000_000), (bytes, a, b) => {
        const [first, last] = a <= b ? [a, b] : [b, a];
        const expected = first >= bytes ? { kind: 'unsatisfiable' } : { kind: 'part', start: first, end: Math.min(last, bytes - 1) };
        expect(parseByteRange(`bytes=${first}-${last}`, bytes)).toEqual(expected);
      }),
    );
  });

  it('gives the last n bytes of a suffix range, the whole file as a part when n is larger', () => {
    fc.assert(
      fc.property(size, fc.integer({ min: 1, max: 2_000_000 }), (bytes, n) => {
        expect(parseByteRange(`bytes=-${n}`, bytes)).toEqual({ kind: 'part', start: Math.max(0, bytes - n), end: bytes - 1 });
      }),
    );
  });

  it('never leaves the file, whatever the header says', () => {
    const header = fc.oneof(fc.string(), fc.stringMatching(/^bytes=[0-9 ,-]{0,30}$/));
    fc.assert(
      fc.property(header, fc.nat(1_000), (text, bytes) => {
        const range = parseByteRange(text, bytes);
        if (range.kind === 'part') expect(0 <= range.start && range.start <= range.end && range.end < bytes).toBe(true);
      }),
    );
  });

  it.each(['bytes=0-1,3-4', 'bytes=5-2', 'bytes=-', 'items=0-1', 'bytes=a-b', ''])('ignores %j, as RFC 9110 asks', (header) => {
    expect(parseByteRange(header, 10)).toEqual({ kind: 'whole' });
  });

  it('cannot satisfy anything of an empty file', () => {
    expect(parseByteRange('bytes=0-', 0)).toEqual({ kind: 'unsatisfiable' });
    expect(parseByteRange('bytes=-5', 0)).toEqual({ kind: 'unsatisfiable' });
  });
});
