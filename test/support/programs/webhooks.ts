/** The webhooks process, so that it can be killed. Prints `ready`. */
import { startWebhookSender } from '../../../services/webhooks/deps.js';

const config = JSON.parse(process.argv[2] ?? '{}');
const sender = await startWebhookSender(config, { log: { info: () => undefined, warn: () => undefined } });
process.on('SIGTERM', () => sender.close().then(() => process.exit(0)));
console.log('ready');
