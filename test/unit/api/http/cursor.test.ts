/** Cursors come back as they were given out, to the same list, and in no other way. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cursorCodec } from '../../../../services/api/http/cursor.js';

const codec = cursorCodec(randomBytes(32));
const position = fc.record({
  createdAt: fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true }),
  id: fc.stringMatching(/^[a-z]{3}_[0-9A-Z]{26}$/),
});

describe('cursorCodec', () => {
  it('gives back every position', () => {
    fc.assert(
      fc.property(position, fc.string(), (at, scope) => {
        expect(codec.decode(codec.encode(at, scope), scope)).toEqual(at);
      }),
    );
  });

  it('refuses the cursor of another tenant, list or filter', () => {
    fc.assert(
      fc.property(position, fc.string(), fc.string(), (at, scope, other) => {
        fc.pre(scope !== other);
        expect(() => codec.decode(codec.encode(at, scope), other)).toThrow(expect.objectContaining({ code: 'request_invalid' }));
      }),
    );
  });

  it('refuses a cursor with any bit changed, and any other text', () => {
    fc.assert(
      fc.property(position, fc.nat(), (at, where) => {
        const bytes = Buffer.from(codec.encode(at, 's'), 'base64url');
        const index = where % bytes.length;
        bytes[index] = (bytes[index] ?? 0) ^ 1;
        expect(() => codec.decode(bytes.toString('base64url'), 's')).toThrow(expect.objectContaining({ code: 'request_invalid' }));
      }),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(() => codec.decode(text, 's')).toThrow(expect.objectContaining({ code: 'request_invalid' }));
      }),
    );
  });
});
