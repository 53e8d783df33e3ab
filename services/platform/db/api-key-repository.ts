/** API keys: the hash, never the key. Authentication is the one look-up that has no tenant yet; it is what yields it. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { type ApiKeyScope, newId, parseApiKey } from '#contracts';
import type { Database, Db } from './database.js';
import type { ApiKey } from './generated/client.js';
import { instanceSecret } from './instance-setting-repository.js';
import { afterPosition, newestFirst, type Page, type PageRequest, toPage } from './page.js';

export type ApiKeyRecord = ApiKey;

/** Who is calling. */
export interface Principal {
  readonly tenantId: string;
  readonly apiKeyId: string;
  readonly scopes: ReadonlySet<ApiKeyScope>;
}

export interface NewApiKeyRow {
  readonly name: string;
  readonly scopes: readonly ApiKeyScope[];
  readonly expiresAt: Date | null;
}

export interface ApiKeyRepository {
  /** The principal of a key as the client sent it, or null: unknown, wrong, expired or revoked. */
  authenticate(key: string): Promise<Principal | null>;
  create(tenantId: string, key: string, row: NewApiKeyRow): Promise<ApiKeyRecord>;
  list(tenantId: string, page: PageRequest): Promise<Page<ApiKeyRecord>>;
  /** Null when the tenant has no such key; revoking twice keeps the first time. */
  revoke(tenantId: string, id: string): Promise<ApiKeyRecord | null>;
}

/** HMAC-SHA-256(pepper, secret): a fast hash is right for 190 random bits, argon2 would only be a lever for overload. */
export function hashApiKeySecret(pepper: Buffer, secret: string): string {
  return createHmac('sha256', pepper).update(secret).digest('hex');
}

/** Our own format has a public id; a key of free text (LATHE_API_KEY) gets one that only the pepper's owner can compute. */
export function splitApiKey(pepper: Buffer, key: string): { keyId: string; secret: string } {
  return parseApiKey(key) ?? { keyId: `text-${createHmac('sha256', pepper).update(`id:${key}`).digest('hex')}`, secret: key };
}

export async function insertApiKey(db: Db, tenantId: string, { key, ...row }: NewApiKeyRow & { readonly key: string }): Promise<ApiKey> {
  const pepper = await instanceSecret(db, 'api_key_pepper');
  const { keyId, secret } = splitApiKey(pepper, key);
  return db.apiKey.create({
    data: {
      id: newId('apiKey'),
      tenantId,
      keyId,
      secretHash: hashApiKeySecret(pepper, secret),
      lastFour: key.slice(-4),
      name: row.name,
      scopes: [...row.scopes],
      expiresAt: row.expiresAt,
    },
  });
}

/** How long an answer is believed: the longest time that a key lives on in another process after it was revoked. */
const cacheMs = 2_000;
const lastUsedStepMs = 60_000;
const cacheEntriesMax = 10_000;

export function apiKeyRepository({ db }: Database): ApiKeyRepository {
  const cache = new Map<string, { readonly row: ApiKey | null; readonly until: number }>();
  let pepper: Buffer | null = null;

  async function findRow(keyId: string): Promise<ApiKey | null> {
    const cached = cache.get(keyId);
    if (cached !== undefined && cached.until > Date.now()) return cached.row;
    const row = await db.apiKey.findUnique({ where: { keyId } });
    if (cache.size >= cacheEntriesMax) cache.clear();
    cache.set(keyId, { row, until: Date.now() + cacheMs });
    return row;
  }

  async function authenticate(key: string): Promise<Principal | null> {
    pepper ??= await instanceSecret(db, 'api_key_pepper');
    const { keyId, secret } = splitApiKey(pepper, key);
    const row = await findRow(keyId);
    // An unknown id costs the same comparison as a wrong secret.
    const expected = Buffer.from(row?.secretHash ?? '0'.repeat(64), 'hex');
    const right = timingSafeEqual(expected, Buffer.from(hashApiKeySecret(pepper, secret), 'hex'));
    if (row === null || !right || row.revokedAt !== null) return null;
    const now = new Date();
    if (row.expiresAt !== null && row.expiresAt <= now) return null;
    if (row.lastUsedAt === null || now.getTime() - row.lastUsedAt.getTime() > lastUsedStepMs) {
      row.lastUsedAt = now;
      await db.apiKey.updateMany({ where: { id: row.id, tenantId: row.tenantId }, data: { lastUsedAt: now } });
    }
    return { tenantId: row.tenantId, apiKeyId: row.id, scopes: new Set(row.scopes as ApiKeyScope[]) };
  }

  return {
    authenticate,
    create: (tenantId, key, row) => insertApiKey(db, tenantId, { key, ...row }),
    list: async (tenantId, { limit, after }) => {
      const where = { tenantId, ...afterPosition(after) };
      return toPage(await db.apiKey.findMany({ where, orderBy: newestFirst, take: limit + 1 }), limit);
    },
    revoke: async (tenantId, id) => {
      await db.apiKey.updateMany({ where: { tenantId, id, revokedAt: null }, data: { revokedAt: new Date() } });
      const row = await db.apiKey.findFirst({ where: { tenantId, id } });
      if (row !== null) cache.delete(row.keyId);
      return row;
    },
  };
}
