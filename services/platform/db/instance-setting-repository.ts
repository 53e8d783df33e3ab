/** Values that exist once per installation; made on first use, the same for all processes. */
import { randomBytes } from 'node:crypto';
import type { Db } from './database.js';

export type InstanceSecretName = 'api_key_pepper' | 'cursor_key';

/** 32 random bytes, stored as hex; the first caller of all processes decides the value. */
export async function instanceSecret(db: Db, name: InstanceSecretName): Promise<Buffer> {
  const value = randomBytes(32).toString('hex');
  await db.$executeRaw`INSERT INTO instance_setting (name, value) VALUES (${name}, ${value}) ON CONFLICT (name) DO NOTHING`;
  const row = await db.instanceSetting.findUniqueOrThrow({ where: { name } });
  return Buffer.from(row.value, 'hex');
}
