/** A consumer process that can be killed: prints a line when a message arrives and, unless told to hang, when it is done. */
import { createJobConsumer } from '#platform/queue';

const { databaseUrl, redisUrl, prefix, hang } = JSON.parse(process.argv[2] ?? '{}');
const consumer = createJobConsumer({ databaseUrl, queue: { ...(redisUrl ? { redisUrl } : {}), prefix, lockMs: 1_000, stalledMs: 300 } });
await consumer.start({
  queues: ['compression.run'],
  concurrency: 1,
  onError: () => undefined,
  handlers: {
    'compression.run': async (delivery) => {
      console.log(`got ${delivery.id} ${delivery.attempt}`);
      if (hang) await new Promise(() => undefined);
      console.log(`done ${delivery.id}`);
    },
  },
});
console.log('ready');
