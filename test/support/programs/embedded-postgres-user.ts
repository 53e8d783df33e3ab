/** Uses the embedded Postgres of the folder in argv[2] until it is killed or its input ends; prints one JSON line when it may. */
import { useEmbeddedPostgres } from '../../../services/platform/database-server/index.js';

const server = await useEmbeddedPostgres({ dataDir: process.argv[2] ?? '', durable: false }).catch((error: unknown) => {
  console.log(JSON.stringify({ error: String(error) }));
  process.exit(1);
});
console.log(JSON.stringify({ url: server.url, started: server.started }));
process.stdin.resume();
process.stdin.once('end', () => void server.release().then(() => process.exit(0)));
