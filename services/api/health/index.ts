/** The probes: /livez (this process turns) and /readyz (it should get work: database, queue, storage). */
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

  const ready = { tags: ['health'], summary: 'Should it get requests?', response: { 200: Ready, 503: Ready } };
  app.get('/readyz', { config, schema: ready, logLevel: 'warn' }, async (request, reply) => {
    const report = await readiness.report();
    // Reasons are for the log: they may name hosts.
    if (!report.ready) request.log.warn({ ...report }, 'not ready');
    const checks = Object.fromEntries(
      Object.entries(report.checks).map(([name, result]) => [name, result === 'ok' ? ('ok' as const) : ('failed' as const)]),
    );
    reply.code(report.ready ? 200 : 503);
    return { status: report.ready ? ('ok' as const) : ('unavailable' as const), state: report.state, checks };
  });
}
