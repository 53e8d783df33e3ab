/** First start: the tenant and the key that the operator needs to begin. */
import { randomBytes } from 'node:crypto';
import { AppError, newApiKey, newId, parseApiKey } from '#contracts';
import { hashApiKeySecret, insertApiKey, splitApiKey } from './api-key-repository.js';
import type { Database, Db } from './database.js';
import { instanceSecret } from './instance-setting-repository.js';

export interface BootstrapResult {
  readonly tenantId: string;
  /** The key in clear, once: null when keys existed already and none was given. */
  readonly apiKey: string | null;
}

const freeTextLengthMin = 16;

/** An advisory lock number of our own, so that two processes that start together make one tenant. */
const bootstrapLock = 7_204_551_001n;

/**
 * Makes the first tenant and an `admin` key when there is none, and sees to it that `givenKey` (LATHE_API_KEY) works.
 * Safe to call at each start.
 * @throws AppError(request_invalid) when `givenKey` has our form with a wrong checksum, or is free text under 16 characters
 */
export async function bootstrapInstallation(database: Database, givenKey?: string): Promise<BootstrapResult> {
  if (givenKey !== undefined) checkGivenKey(givenKey);
  return database.transaction(async (tx) => {
    await tx.$executeRaw`SELECT pg_advisory_xact_lock(${bootstrapLock})`;
    const tenantId = await firstTenant(tx);
    if (givenKey !== undefined) {
      await ensureKey(tx, tenantId, givenKey);
      return { tenantId, apiKey: givenKey };
    }
    if ((await tx.apiKey.count({ where: { tenantId, revokedAt: null } })) > 0) return { tenantId, apiKey: null };
    const apiKey = newApiKey();
    await ensureKey(tx, tenantId, apiKey);
    return { tenantId, apiKey };
  });
}

function checkGivenKey(key: string): void {
  if (parseApiKey(key) !== null) return;
  if (key.startsWith('lathe_')) throw new AppError('request_invalid', 'LATHE_API_KEY looks like a Lathe key but its checksum is wrong.');
  if (key.length < freeTextLengthMin) {
    throw new AppError('request_invalid', `LATHE_API_KEY must have at least ${freeTextLengthMin} characters.`);
  }
}

async function firstTenant(tx: Db): Promise<string> {
  const existing = await tx.tenant.findFirst({ orderBy: { createdAt: 'asc' } });
  if (existing !== null) return existing.id;
  const webhookSecret = `whsec_${randomBytes(32).toString('base64')}`;
  return (await tx.tenant.create({ data: { id: newId('tenant'), name: 'default', webhookSecret } })).id;
}

async function ensureKey(tx: Db, tenantId: string, key: string): Promise<void> {
  const pepper = await instanceSecret(tx, 'api_key_pepper');
  const { keyId, secret } = splitApiKey(pepper, key);
  const existing = await tx.apiKey.findUnique({ where: { keyId } });
  if (existing === null) {
    await insertApiKey(tx, tenantId, { key, name: 'first key', scopes: ['admin'], expiresAt: null });
    return;
  }
  // The operator named this key on purpose: it works again even when it was revoked.
  const data = { secretHash: hashApiKeySecret(pepper, secret), revokedAt: null };
  await tx.apiKey.update({ where: { keyId }, data });
}
