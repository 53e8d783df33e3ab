/** The webhooks process: delivers events to the addresses of customers. */
import { runProcess } from '#platform/lifecycle';
import { startWebhookSender } from './deps.js';

await runProcess('webhooks', async ({ config, logger, registry, readiness, onShutdown }) => {
  const sender = await startWebhookSender(config, { log: logger, registry, readiness });
  onShutdown('webhooks', sender.close);
  return undefined;
});
