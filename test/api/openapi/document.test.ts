/** The committed OpenAPI document is the one that the routes give. After a wanted change: LATHE_UPDATE_OPENAPI=1 npx vitest run test/api/openapi. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { openApiDocument } from '../../support/openapi-document.js';

const file = path.resolve(import.meta.dirname, '../../../docs/openapi.json');

interface Operation {
  readonly summary?: string;
  readonly responses?: Readonly<Record<string, unknown>>;
  readonly security?: readonly unknown[];
}

describe('docs/openapi.json', () => {
  it('is what the routes say', async () => {
    const document = await openApiDocument();
    if (process.env.LATHE_UPDATE_OPENAPI !== undefined) await writeFile(file, `${JSON.stringify(document, null, 2)}\n`);
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(document);
  });

  it('is OpenAPI 3.1 in which every operation has a summary and its error answers', async () => {
    const document = (await openApiDocument()) as { openapi: string; paths: Record<string, Record<string, Operation>> };
    expect(document.openapi).toBe('3.1.0');
    const operations = Object.entries(document.paths).flatMap(([url, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ url, method, operation })),
    );
    expect(operations.length).toBeGreaterThan(35);
    for (const { url, method, operation } of operations) {
      expect([url, method, operation.summary === undefined]).toEqual([url, method, false]);
      if (url.startsWith('/v1/'))
        expect([url, method, Object.keys(operation.responses ?? {})]).toEqual([url, method, expect.arrayContaining(['4XX', '5XX'])]);
    }
  });

  it('has no reference that leads nowhere', async () => {
    const document = await openApiDocument();
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map((match) => match[1] ?? '');
    for (const reference of references) {
      const target = reference
        .split('/')
        .reduce<unknown>(
          (at, part) => (at as Record<string, unknown> | undefined)?.[part.replaceAll('~1', '/').replaceAll('~0', '~')],
          document,
        );
      expect([reference, target === undefined]).toEqual([reference, false]);
    }
  });
});
