import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigError, describeConfig, parseConfig } from '#platform/config';

const parse = (variables: Record<string, string>) => parseConfig(variables, '/work');
const faultsOf = (variables: Record<string, string>): readonly string[] => {
  try {
    parse(variables);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  return [];
};

describe('configuration', () => {
  it('needs nothing: embedded database, queue on it, blobs and everything else below the data folder, loopback only', () => {
    const config = parse({ PATH: '/bin', HOME: '/root' });
    expect(config).toMatchObject({ role: 'all', dataDir: '/work/.lathe', http: { host: '127.0.0.1', port: 8080 } });
    expect(config).not.toHaveProperty('databaseUrl');
    expect(config.queue).not.toHaveProperty('redisUrl');
    expect(config.storage).toMatchObject({ kind: 'filesystem', root: '/work/.lathe/storage' });
    expect(config.webhooks.retryDelaysMs.slice(0, 3)).toEqual([0, 5_000, 60_000]);
  });

  it('lists every fault at once, each with the name of its variable', () => {
    const faults = faultsOf({
      LATHE_PORT: '80a',
      LATHE_ROLE: 'apy',
      LATHE_WORKER_CONCURRENCY: '0',
      DATABASE_URL: 'mysql://x',
      LATHE_LOGLEVEL: 'debug',
      S3_FORCE_PATH_STYLE: 'perhaps',
    });
    for (const key of ['LATHE_PORT', 'LATHE_ROLE', 'LATHE_WORKER_CONCURRENCY', 'DATABASE_URL', 'LATHE_LOGLEVEL', 'S3_FORCE_PATH_STYLE']) {
      expect(faults.filter((fault) => fault.startsWith(`${key}:`))).toHaveLength(1);
    }
    expect(faults).toHaveLength(6);
  });

  it('the message of the error holds every fault on a line of its own', () => {
    const faults = faultsOf({ LATHE_PORT: '-1', LATHE_JOB_LEASE_MS: 'x' });
    expect(new ConfigError(faults).message.split('\n')).toHaveLength(faults.length + 1);
  });

  it('a misspelt LATHE_ name is a fault and names the nearest setting', () => {
    expect(faultsOf({ LATHE_WORKER_CONCURENCY: '2' })).toEqual([
      'LATHE_WORKER_CONCURENCY: no such setting; did you mean LATHE_WORKER_CONCURRENCY?',
    ]);
  });

  it('names that Kubernetes makes for a service called lathe are not faults; LATHE_PORT=tcp://... is explained', () => {
    const links = {
      LATHE_SERVICE_HOST: '10.0.0.1',
      LATHE_SERVICE_PORT_HTTP: '80',
      LATHE_PORT_80_TCP_ADDR: '10.0.0.1',
      LATHE_API_PORT: 'tcp://10.0.0.1:80',
    };
    expect(faultsOf(links)).toEqual([]);
    expect(faultsOf({ LATHE_PORT: 'tcp://10.0.0.1:80' })).toEqual([expect.stringMatching(/^LATHE_PORT: .*enableServiceLinks: false/)]);
  });

  it('never repeats the value of a secret', () => {
    const secretKeys = describeConfig()
      .filter(({ secret }) => secret)
      .map(({ key }) => key);
    expect(secretKeys).toContain('DATABASE_URL');
    for (const key of secretKeys) expect(faultsOf({ [key]: 'hunter2', LATHE_PORT: 'x' }).join()).not.toContain('hunter2');
  });

  it.each([
    [{ S3_ENDPOINT: 'http://s3:9000' }, /S3_BUCKET: missing, but S3_ENDPOINT is set/],
    [{ S3_BUCKET: 'b', S3_ACCESS_KEY_ID: 'a' }, /S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY: set both or neither/],
    [{ LATHE_JOB_LEASE_MS: '1000', LATHE_JOB_HEARTBEAT_MS: '900' }, /LATHE_JOB_HEARTBEAT_MS: must be at most half of LATHE_JOB_LEASE_MS/],
    [{ LATHE_PUBLIC_URL: 'http://' }, /LATHE_PUBLIC_URL: not a URL/],
    [{ LATHE_EGRESS_ALLOW: '10.0.0.0/33' }, /"10\.0\.0\.0\/33" is neither a CIDR .* nor host:port/],
  ])('%j is refused', (variables, fault) => {
    expect(faultsOf(variables)).toEqual([expect.stringMatching(fault)]);
  });

  it('S3 settings choose S3: path style where an endpoint is given, the credential chain where no key is', () => {
    const aws = parse({ S3_BUCKET: 'models' });
    expect(aws.storage).toMatchObject({ kind: 's3', bucket: 'models', region: 'us-east-1', forcePathStyle: false });
    expect(aws.storage).not.toHaveProperty('credentials');
    const own = parse({ S3_BUCKET: 'models', S3_ENDPOINT: 'http://s3:9000', S3_ACCESS_KEY_ID: 'a', S3_SECRET_ACCESS_KEY: 'b' });
    expect(own.storage).toMatchObject({ forcePathStyle: true, credentials: { accessKeyId: 'a', secretAccessKey: 'b' } });
  });

  it('reads addresses that webhooks may call', () => {
    expect(parse({ LATHE_EGRESS_ALLOW: ' 10.0.0.0/8, Receiver.Local:9000,[::1]:8,fd00::/8 ' }).egressAllow).toEqual([
      { kind: 'cidr', cidr: '10.0.0.0/8' },
      { kind: 'host', host: 'receiver.local', port: 9000 },
      { kind: 'host', host: '::1', port: 8 },
      { kind: 'cidr', cidr: 'fd00::/8' },
    ]);
  });

  it('an empty value counts as unset', () => {
    expect(parse({ DATABASE_URL: '', LATHE_PORT: '' }).http.port).toBe(8080);
  });

  it('cannot be changed afterwards', () => {
    const config = parse({});
    expect(() => Object.assign(config.http, { port: 1 })).toThrow(TypeError);
  });

  it('every setting is described, and every default that is shown is one that is accepted', () => {
    for (const setting of describeConfig()) {
      expect(setting.description).toMatch(/\.$/);
      if (setting.default !== '') expect(faultsOf({ [setting.key]: setting.default })).toEqual([]);
    }
  });

  it('any environment is either parsed or refused with faults that name variables; nothing else is thrown', () => {
    const keys = fc.constantFrom(...describeConfig().map(({ key }) => key), 'LATHE_X', 'OTHER');
    fc.assert(
      fc.property(
        fc.dictionary(keys, fc.oneof(fc.string(), fc.integer().map(String), fc.constantFrom('true', 's3', 'http://x'))),
        (variables) => {
          for (const fault of faultsOf(variables)) expect(fault).toMatch(/^[A-Z0-9_]+( and [A-Z0-9_]+)?: ./);
        },
      ),
    );
  });
});
