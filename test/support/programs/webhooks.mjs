/** The webhooks process, so that it can be killed. Prints `ready`. */
const [deps, config] = process.argv.slice(2);
const { startWebhookSender } = await import(deps);
const sender = await startWebhookSender(JSON.parse(config), { log: { info: () => undefined, warn: () => undefined } });
process.on('SIGTERM', () => sender.close().then(() => process.exit(0)));
console.log('ready');
