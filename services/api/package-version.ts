/** The version in package.json, which lies two folders up from source and three from dist. */
import { existsSync, readFileSync } from 'node:fs';

export function packageVersion(): string {
  const places = ['../../package.json', '../../../package.json'].map((place) => new URL(place, import.meta.url));
  const file = places.find((place) => existsSync(place));
  if (file === undefined) throw new Error('package.json was not found.');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
