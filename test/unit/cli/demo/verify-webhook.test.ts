/** The receiver's check of a signature, against the reference implementation `standardwebhooks`. */
import fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { isAuthentic } from '../../../../services/cli/demo/verify-webhook.js';

const secret = `whsec_${Buffer.from('a secret of thirty-two bytes ...').toString('base64')}`;
const now = Date.now();
const signed = (body: string, id = 'evt_1') => ({
  id,
  timestamp: String(Math.floor(now / 1000)),
  signature: new Webhook(secret).sign(id, new Date(now), body),
  body: Buffer.from(body),
});

describe('isAuthentic', () => {
  it('accepts whatever the reference implementation signed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.stringMatching(/^[a-z]+_[0-9A-Z]{1,26}$/), (body, id) =>
        isAuthentic(signed(body, id), secret, now),
      ),
    );
  });

  it('refuses a changed body, id, timestamp or secret', () => {
    const genuine = signed('{"type":"job.succeeded"}');
    expect(isAuthentic({ ...genuine, body: Buffer.from('{"type":"job.failed"}') }, secret, now)).toBe(false);
    expect(isAuthentic({ ...genuine, id: 'evt_2' }, secret, now)).toBe(false);
    expect(isAuthentic({ ...genuine, timestamp: String(Number(genuine.timestamp) - 1) }, secret, now)).toBe(false);
    expect(isAuthentic(genuine, `whsec_${Buffer.from('another').toString('base64')}`, now)).toBe(false);
  });

  it('accepts one valid signature among several, as during a rotation', () => {
    const genuine = signed('{}');
    expect(isAuthentic({ ...genuine, signature: `v1,AAAA ${genuine.signature}` }, secret, now)).toBe(true);
  });

  it('refuses what is older than five minutes, so that a recorded delivery cannot be replayed', () => {
    expect(isAuthentic(signed('{}'), secret, now + 301_000)).toBe(false);
  });

  it.each(['', 'v1', 'v1,', 'v1a,AAAA', 'nonsense'])('refuses the signature "%s"', (signature) => {
    expect(isAuthentic({ ...signed('{}'), signature }, secret, now)).toBe(false);
  });
});
