/** The probes: /livez (this process turns) and /readyz (it should get work: database, queue, storage, and no overload). */
import Type from 'typebox';
import type { ApiDeps } from '../deps.js';
import type { Api } from '../http/typed-app.js';

const Live = Type.Object({ status: Type.Literal('ok') });
const Ready = Type.Object({
  status: Type.Enum(['ok', 'unavailable']),
  state: Type.String(),
  checks: Type.Record(Type.String(), Type.Enum(['ok', 'failed'])),
});

const config = { scope: 'public', exemptFromPressure: true } as const;

export function registerHealth(app: Api, { readiness }: Pick<ApiDeps, 'readiness'>): void {
  const live = { tags: ['health'], summary: 'Is the process alive?', response: { 200: Live } };
  app.get('/livez', { config, schema: live, logLevel: 'warn' }, () => ({ status: 'ok' as const }));

  const readySchema = { tags: ['health'], summary: 'Should it get requests?', response: { 200: Ready, 503: Ready } };
  app.get('/readyz', { config, schema: readySchema, logLevel: 'warn' }, async (request, reply) => {
    const report = await readiness.report();
    // Asked last, as the other checks take time: who is told "ready" is not refused by the next request.
    const overloaded = app.isOverloaded();
    const ready = report.ready && !overloaded;
    // Reasons are for the log: they may name hosts.
    if (!ready) request.log.warn({ ...report, overloaded }, 'not ready');
    const checks = Object.fromEntries(
      Object.entries({ ...report.checks, event_loop: overloaded ? 'overloaded' : 'ok' }).map(([name, result]) => [
        name,
        result === 'ok' ? ('ok' as const) : ('failed' as const),
      ]),
    );
    reply.code(ready ? 200 : 503);
    return { status: ready ? ('ok' as const) : ('unavailable' as const), state: report.state, checks };
  });
}
