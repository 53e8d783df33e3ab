/** What the operator reads when the service is up: where it is, how to get in, what it runs on. */

import type { Installation } from './installation.js';
import { redactUrl } from './redact-url.js';

export interface BannerFacts {
  readonly url: string;
  /** The key in clear when it was made or given at this start. */
  readonly apiKey: string | null;
  readonly installation: Installation;
  readonly roles: readonly string[];
}

export function bannerText({ url, apiKey, installation, roles }: BannerFacts): string {
  const { config, embedded } = installation;
  const base = config.publicUrl ?? url;
  const storage = config.storage.kind === 's3' ? `S3 bucket ${config.storage.bucket}` : 'this machine';
  const queue = config.queue.redisUrl === undefined ? 'Postgres' : redactUrl(config.queue.redisUrl);
  const mode = [`database ${embedded ? 'embedded' : redactUrl(config.databaseUrl)}`, `queue ${queue}`, `blobs ${storage}`].join(', ');
  const rows: [string, string][] = [
    ['URL', base],
    ['Docs', `${base}/docs`],
    ['API key', apiKeyLine(apiKey, config.firstApiKey)],
    ['Data', config.dataDir],
    ['Mode', `${roles.join(' + ')}; ${mode}`],
  ];
  return `\n  Lathe is ready\n\n${rows.map(([label, value]) => `  ${label.padEnd(8)} ${value}`).join('\n')}\n\n`;
}

function apiKeyLine(made: string | null, given: string | undefined): string {
  if (given !== undefined) return 'the one in LATHE_API_KEY';
  return made === null ? 'made at the first start' : `${made}   (shown only now: keep it)`;
}
