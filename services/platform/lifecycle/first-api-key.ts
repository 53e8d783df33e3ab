/** The API makes the first tenant and key before it listens. Prisma is loaded here and not by the supervisor: it takes 100 MB. */
import type { ConfigWithDatabase } from '../config/index.js';

/** The key in clear when it was made or given at this start; null when there was one already. */
export async function ensureFirstApiKey(config: ConfigWithDatabase): Promise<string | null> {
  const { bootstrapInstallation, openDatabase } = await import('../db/index.js');
  const database = openDatabase({ url: config.databaseUrl, poolSize: 1 });
  try {
    return (await bootstrapInstallation(database, config.firstApiKey)).apiKey;
  } finally {
    await database.close();
  }
}
