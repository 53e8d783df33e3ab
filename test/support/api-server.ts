/** The API listening on a port of its own, with a database and folders of its own, and keys of two tenants. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Agent, agent } from 'supertest';
import { type ApiKeyScope, newApiKey, newId } from '#contracts';
import { parseConfig } from '#platform/config';
import { bootstrapInstallation, type Database, insertApiKey, openDatabase } from '#platform/db';
import { Readiness } from '#platform/lifecycle';
import { createLogger, createRegistry } from '#platform/observability';
import { buildApp } from '../../services/api/app.js';
import { type ApiDeps, openApiDeps } from '../../services/api/deps.js';
import type { Api } from '../../services/api/http/typed-app.js';
import { encodeModel } from '../../services/engine/onnx/index.js';
import { classifier } from './build-model.js';
import { createTestDatabase } from './test-database.js';

export interface ApiServer {
  readonly url: string;
  readonly app: Api;
  readonly deps: ApiDeps;
  readonly database: Database;
  readonly databaseUrl: string;
  readonly dataDir: string;
  readonly tenantId: string;
  /** Sends the first tenant's key, which may do everything. */
  readonly client: Agent;
  /** Sends a key of another tenant, which may do everything there. */
  readonly stranger: Agent;
  readonly strangerTenantId: string;
  readonly key: string;
  /** An agent with a new key of these scopes. */
  clientWith(...scopes: ApiKeyScope[]): Promise<Agent>;
  /** Sends no key. */
  readonly anonymous: Agent;
  /** Names below the upload and blob folders: what uploads leave. */
  filesLeft(): Promise<{ uploads: string[]; blobs: string[] }>;
  close(): Promise<void>;
}

/** `settings` are LATHE_* variables. */
export async function startApiServer(settings: Readonly<Record<string, string>> = {}): Promise<ApiServer> {
  const testDatabase = await createTestDatabase();
  const dataDir = await mkdtemp(path.join(tmpdir(), 'lathe-api-'));
  const variables = {
    DATABASE_URL: testDatabase.url,
    LATHE_DATA_DIR: dataDir,
    LATHE_MIN_FREE_DISK_BYTES: '0',
    LATHE_RATE_LIMIT_PER_MINUTE: '1000000',
  };
  const config = { ...parseConfig({ ...variables, ...settings }, dataDir), databaseUrl: testDatabase.url };
  const database = openDatabase({ url: testDatabase.url });
  const { tenantId, apiKey } = await bootstrapInstallation(database);
  const key = apiKey ?? '';
  const strangerTenantId = newId('tenant');
  await database.db.tenant.create({
    data: { id: strangerTenantId, name: 'stranger', webhookSecret: `whsec_${randomBytes(32).toString('base64')}` },
  });
  const makeKey = async (tenant: string, scopes: readonly ApiKeyScope[]) => {
    const text = newApiKey();
    await insertApiKey(database.db, tenant, { key: text, name: 'test', scopes, expiresAt: null });
    return text;
  };
  const readiness = new Readiness();
  const logger = createLogger({ name: 'api', level: 'fatal', format: 'json' });
  const { deps, close } = await openApiDeps({ config, logger, registry: createRegistry('api'), readiness });
  const app = await buildApp(deps, { version: '0.0.0-test' });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  readiness.state = 'ready';
  const withKey = (text: string) => agent(url).set('Authorization', `Bearer ${text}`);
  return {
    url,
    app,
    deps,
    database,
    databaseUrl: testDatabase.url,
    dataDir,
    tenantId,
    key,
    strangerTenantId,
    client: withKey(key),
    stranger: withKey(await makeKey(strangerTenantId, ['admin'])),
    anonymous: agent(url),
    clientWith: async (...scopes) => withKey(await makeKey(tenantId, scopes)),
    filesLeft: async () => ({
      uploads: await namesIn(path.join(dataDir, 'uploads')),
      blobs: (await namesIn(path.join(dataDir, 'storage'))).filter((name) => /^[0-9a-f]{64}$|\.part$/.test(path.basename(name))),
    }),
    close: async () => {
      await app.close();
      await close();
      await database.close();
      await testDatabase.drop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true }).catch(() => [])).map(String);
}

/** Widths are taken in turn: two models that were equal by chance would be one to the API. */
let widthsTaken = 0;

/** A valid model unlike any other of the test. */
export function modelBytes(hidden: number = 16 + (widthsTaken++ % 4_096)): Buffer {
  return Buffer.from(encodeModel(classifier({ hidden })));
}

/** Uploads a model and returns its id. */
export async function uploadedModel(client: Agent): Promise<string> {
  const response = await client.post('/v1/models').set('Content-Type', 'application/octet-stream').send(modelBytes()).expect(201);
  return response.body.id as string;
}
