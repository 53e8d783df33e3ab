/** Small header grammars: Prefer, Idempotency-Key, digests, entity tags, Content-Disposition. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attachment, plainFileName } from '../../../../services/api/http/content-disposition.js';
import { declaredSha256, reprDigest } from '../../../../services/api/http/declared-digest.js';
import { ifRangeHolds, noneMatchHits } from '../../../../services/api/http/entity-tag.js';
import { canonicalJson, parseIdempotencyKey } from '../../../../services/api/http/idempotency-key.js';
import { parsePreferWait } from '../../../../services/api/http/prefer-wait.js';

describe('Prefer: wait', () => {
  it.each([
    ['wait=5', 5],
    ['respond-async, wait=10', 10],
    ['wait=0', 1],
    ['wait=9999', 60],
    ['wait="7"', 7],
    ['await=5', null],
    ['wait=soon', null],
    [undefined, null],
  ])('%s is %s seconds', (header, seconds) => expect(parsePreferWait(header)).toBe(seconds));
});

describe('Idempotency-Key', () => {
  it('is the same as a bare token and as a quoted string', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9-]{1,255}$/), (key) => {
        expect(parseIdempotencyKey(key)).toBe(key);
        expect(parseIdempotencyKey(`"${key}"`)).toBe(key);
      }),
    );
  });

  it.each(['', '""', 'x'.repeat(256), 'ä'])('refuses %j', (key) => {
    expect(() => parseIdempotencyKey(key)).toThrow(expect.objectContaining({ code: 'request_invalid' }));
  });

  it('fingerprints equal documents equally, whatever the order of their keys', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (document) => {
        const reversed = Object.fromEntries(Object.entries(document).reverse());
        expect(canonicalJson(reversed)).toBe(canonicalJson(document));
        expect(JSON.parse(canonicalJson(document))).toEqual(JSON.parse(JSON.stringify(document)));
      }),
    );
  });
});

describe('declared digests', () => {
  it('are read from either header, as they were written', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[0-9a-f]{64}$/), (hex) => {
        expect(declaredSha256({ 'repr-digest': reprDigest(hex) })).toBe(hex);
        expect(declaredSha256({ 'repr-digest': `sha-512=:AAAA:, ${reprDigest(hex)}` })).toBe(hex);
        expect(declaredSha256({ 'x-checksum-sha256': hex.toUpperCase() })).toBe(hex);
      }),
    );
  });

  it.each([{ 'x-checksum-sha256': 'abc' }, { 'repr-digest': 'md5=:AAAA:' }])('%j is refused and not ignored', (headers) => {
    expect(() => declaredSha256(headers)).toThrow(expect.objectContaining({ code: 'request_invalid' }));
  });
});

describe('entity tags', () => {
  it('match weakly for If-None-Match and strongly for If-Range', () => {
    expect(noneMatchHits('W/"a", "b"', '"b"')).toBe(true);
    expect(noneMatchHits('"b"', 'W/"b"')).toBe(true);
    expect(noneMatchHits('*', '"c"')).toBe(true);
    expect(noneMatchHits('"x"', '"c"')).toBe(false);
    expect(ifRangeHolds('"c"', '"c"')).toBe(true);
    expect(ifRangeHolds('W/"c"', 'W/"c"')).toBe(false);
    expect(ifRangeHolds('"old"', '"c"')).toBe(false);
  });
});

describe('file names', () => {
  it('survive the header without breaking out of it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }), (name) => {
        const header = attachment(name);
        expect(header).toMatch(/^attachment; filename="[\x20-\x7e]*?"(; filename\*=UTF-8''[\w.!~*'()%-]+)?$/);
        const encoded = /filename\*=UTF-8''(.+)$/.exec(header)?.[1];
        if (encoded !== undefined) expect(decodeURIComponent(encoded)).toBe(name);
      }),
    );
  });

  it.each([
    ['../../etc/passwd', 'passwd'],
    ['C:\\models\\a.onnx', 'a.onnx'],
    ['..', null],
    ['a\u0000b', 'ab'],
    ['', null],
  ])('%j becomes %j', (name, plain) => expect(plainFileName(name)).toBe(plain));
});
