/** The API as a process starts it: connect, build, listen; closed in reverse order. */
import type { ProcessContext } from '#platform/lifecycle';
import { packageVersion } from '#platform/programs';
import { buildApp } from './app.js';
import { openApiDeps } from './deps.js';

/** Resolves with the address when requests are answered. */
export async function startApi({ config, logger, registry, readiness, onShutdown }: ProcessContext): Promise<{ url: string }> {
  const { deps, close } = await openApiDeps({ config, logger, registry, readiness });
  onShutdown('connections', close);
  const app = await buildApp(deps, { version: packageVersion() });
  onShutdown('http', () => app.close());
  const address = await app.listen({ host: config.http.host, port: config.http.port });
  return { url: config.publicUrl ?? address };
}
