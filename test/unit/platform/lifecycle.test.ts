import { describe, expect, it } from 'vitest';
import { Readiness } from '#platform/lifecycle';
import { createLogger } from '#platform/observability';
import { ShutdownStack } from '../../../services/platform/lifecycle/shutdown-stack.js';

const silent = createLogger({ name: 'test', level: 'silent', format: 'json' });

describe('shutdown stack', () => {
  it('closes in reverse order, each step after the one before it has finished', async () => {
    const events: string[] = [];
    const stack = new ShutdownStack(silent);
    for (const name of ['database', 'queue', 'http']) {
      stack.push(name, async () => {
        events.push(`${name} begins`);
        await Promise.resolve();
        events.push(`${name} ends`);
      });
    }
    expect(await stack.close()).toBe(true);
    expect(events).toEqual(['http', 'queue', 'database'].flatMap((name) => [`${name} begins`, `${name} ends`]));
  });

  it('goes on after a step that fails, and says so', async () => {
    const closed: string[] = [];
    const stack = new ShutdownStack(silent);
    stack.push('first', async () => closed.push('first'));
    stack.push('broken', () => Promise.reject(new Error('cannot close')));
    expect(await stack.close()).toBe(false);
    expect(closed).toEqual(['first']);
  });

  it('closes once, however often it is asked', async () => {
    let times = 0;
    const stack = new ShutdownStack(silent);
    stack.push('once', async () => {
      times += 1;
    });
    await Promise.all([stack.close(), stack.close()]);
    await stack.close();
    expect(times).toBe(1);
  });
});

describe('readiness', () => {
  it('is ready only in the state ready with every check passing, and tells which check fails', async () => {
    const readiness = new Readiness();
    let broken = false;
    readiness.add('database', async () => {
      if (broken) throw new Error('connection refused');
    });
    expect(await readiness.report()).toEqual({ ready: false, state: 'starting', checks: { database: 'ok' } });
    readiness.state = 'ready';
    expect((await readiness.report()).ready).toBe(true);
    broken = true;
    expect(await readiness.report()).toEqual({ ready: false, state: 'ready', checks: { database: 'connection refused' } });
    broken = false;
    readiness.state = 'stopping';
    expect((await readiness.report()).ready).toBe(false);
  });

  it('a check that does not answer counts as failed after its time', async () => {
    const readiness = new Readiness();
    readiness.state = 'ready';
    readiness.add('queue', () => new Promise(() => undefined));
    expect(await readiness.report(20)).toEqual({ ready: false, state: 'ready', checks: { queue: 'no answer within 20 ms' } });
  });
});
