import { describe, expect, it } from 'vitest';
import {
  createApiMetrics,
  createLogger,
  createQueueMetrics,
  createRegistry,
  createWebhookMetrics,
  createWorkerMetrics,
} from '#platform/observability';

function captured(format: 'json' | 'text') {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  return { lines, logger: createLogger({ name: 'api', level: 'debug', format, destination }) };
}

describe('log', () => {
  it.each(['json', 'text'] as const)('as %s never shows a credential, at the top or nested', (format) => {
    const { lines, logger } = captured(format);
    const secret = 'hunter2-hunter2';
    logger.info({ authorization: secret, req: { headers: { authorization: secret, 'x-api-key': secret, accept: 'visible' } } }, 'request');
    logger.info(
      { endpoint: { secrets: [{ secret }], url: 'visible' }, databaseUrl: secret, config: { redisUrl: secret, apiKey: secret } },
      'config',
    );
    logger.child({ password: secret }).warn({ headers: { cookie: secret } }, 'child');
    expect(lines.join('')).not.toContain(secret);
    expect(lines.join('').match(/visible/g)).toHaveLength(2);
    expect(lines).toHaveLength(3);
  });

  it('as json is one object a line with time, level by name, process and message; an error brings its cause', () => {
    const { lines, logger } = captured('json');
    logger.error({ err: new Error('outer', { cause: new Error('inner') }), job_id: 'job_1' }, 'failed');
    const line = JSON.parse(lines[0] ?? '');
    expect(line).toMatchObject({
      level: 'error',
      name: 'api',
      msg: 'failed',
      job_id: 'job_1',
      err: { message: 'outer', cause: { message: 'inner' } },
    });
    expect(Number.isNaN(Date.parse(line.time))).toBe(false);
  });

  it('as text is one readable line, with the stack of an error below it', () => {
    const { lines, logger } = captured('text');
    logger.info({ job_id: 'job_1', size: 3 }, 'claimed');
    logger.error({ err: new Error('broken') }, 'failed');
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d INFO {2}api {6}claimed job_id=job_1 size=3\n$/);
    expect(lines[1]).toMatch(/^\d\d:\d\d:\d\d ERROR api {6}failed\nError: broken\n {4}at /);
  });

  it('below its level writes nothing', () => {
    const { lines, logger } = captured('json');
    logger.trace('not shown');
    expect(lines).toEqual([]);
  });
});

describe('metrics', () => {
  it('all of a process fit into one registry, carry the process and no label that grows with use', async () => {
    const registry = createRegistry('api');
    createApiMetrics(registry).requestSeconds.observe({ route: '/v1/jobs', method: 'POST', status: '202' }, 0.01);
    createQueueMetrics(registry).depth.set({ queue: 'compression.run', state: 'queued' }, 3);
    createWorkerMetrics(registry).jobsFinished.inc({ state: 'succeeded', code: 'none' });
    createWebhookMetrics(registry).attempts.inc({ outcome: 'succeeded' });
    const text = await registry.metrics();
    expect(text).toContain('queue_depth{queue="compression.run",state="queued",process="api"} 3');
    expect(text).toMatch(/http_request_duration_seconds_count\{[^}]*route="\/v1\/jobs"[^}]*\} 1/);
    expect(text).toContain('process_cpu_user_seconds_total');
    expect(text).not.toMatch(/(tenant|job_id|url)="/);
  });
});
