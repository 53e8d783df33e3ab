/** API keys: every key that is made parses; a typing error never does. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { apiKeyPattern, newApiKey, parseApiKey } from '#contracts';

describe('API keys', () => {
  it('have the published form and parse to their parts', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z]{2,8}$/), (environment) => {
        const key = newApiKey(environment);
        expect(key).toMatch(apiKeyPattern);
        const parsed = parseApiKey(key);
        expect(key.startsWith(`lathe_${environment}_${parsed?.keyId}_${parsed?.secret}`)).toBe(true);
      }),
    );
  });

  it('with one character changed, or two neighbours swapped, are refused', () => {
    fc.assert(
      fc.property(fc.nat(49), fc.stringMatching(/^[0-9A-Za-z]$/), (at, char) => {
        const key = newApiKey();
        const index = key.length - 1 - at;
        const changed = key.slice(0, index) + char + key.slice(index + 1);
        const swapped = key.slice(0, index - 1) + key.charAt(index) + key.charAt(index - 1) + key.slice(index + 1);
        if (changed !== key) expect(parseApiKey(changed)).toBeNull();
        if (swapped !== key) expect(parseApiKey(swapped)).toBeNull();
      }),
    );
  });

  it('differ from each other', () => {
    expect(new Set(Array.from({ length: 100 }, () => newApiKey())).size).toBe(100);
  });

  it('are never found in arbitrary text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(parseApiKey(text)).toBeNull();
      }),
    );
  });
});
