/** `lathe serve`, the same as `npm start`: the service, configured by environment variables only. */
import { Command } from 'commander';

export function serveCommand(): Command {
  return new Command('serve')
    .description('run the service: API, worker and webhooks (docs/reference/configuration.md lists the environment variables)')
    .action(async () => {
      const { serve } = await import('#platform/lifecycle');
      await serve();
    });
}
