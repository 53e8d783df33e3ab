/** The processes below a process, read from /proc (Linux). */
import { readdir, readFile } from 'node:fs/promises';

/** `pid` and all its descendants; empty when it does not run. */
export async function processesOf(pid: number): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const parent = await parentOf(Number(entry));
    if (parent !== null) children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
  }
  if ((await parentOf(pid)) === null) return [];
  const family = [pid];
  for (const member of family) family.push(...(children.get(member) ?? []));
  return family;
}

/** The descendant of `pid` whose command line contains `text`; undefined when there is none. */
export async function findProcess(pid: number, text: string): Promise<number | undefined> {
  for (const member of await processesOf(pid)) {
    const commandLine = await readFile(`/proc/${member}/cmdline`, 'utf8').catch(() => '');
    if (commandLine.includes(text)) return member;
  }
  return undefined;
}

/** Null when the process does not run or is a zombie. The name in /proc/<pid>/stat may hold spaces and brackets; the state follows the last ')'. */
async function parentOf(pid: number): Promise<number | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (stat === null) return null;
  const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return state === 'Z' ? null : Number(parent);
}
