/** Links between pages lead somewhere, and paths that the documentation names exist. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { repositoryRoot } from '../support/running-service.js';

const roots = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'];
const inDocs = (await readdir(join(repositoryRoot, 'docs'), { recursive: true })).filter((name) => name.endsWith('.md'));
const pages = [...roots, ...inDocs.map((name) => join('docs', name))];

describe.each(pages)('%s', (page) => {
  it('links only to files that exist', async () => {
    const text = await readFile(join(repositoryRoot, page), 'utf8');
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?:|#)/.test(target)) continue;
      expect(existsSync(join(repositoryRoot, dirname(page), target.replace(/#.*$/, ''))), target).toBe(true);
    }
  });

  it('names only paths of the repository that exist', async () => {
    const text = await readFile(join(repositoryRoot, page), 'utf8');
    for (const [, path = ''] of text.matchAll(/`((?:services|prisma|docker|test|docs|\.ci)\/[\w./-]+)`/g)) {
      expect(existsSync(join(repositoryRoot, path)), path).toBe(true);
    }
  });

  it('names only npm scripts that exist', async () => {
    const text = await readFile(join(repositoryRoot, page), 'utf8');
    const { scripts } = JSON.parse(await readFile(join(repositoryRoot, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
    for (const [, script = ''] of text.matchAll(/npm run ([\w:-]+)/g)) expect(Object.keys(scripts)).toContain(script);
  });
});
