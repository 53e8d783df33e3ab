/** docker/ and docker-compose.yml, checked as far as a machine without a Docker daemon can: everything that they name exists. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { describeConfig } from '#platform/config';

const root = resolve(import.meta.dirname, '../../..');
const settings = new Set(describeConfig().map((setting) => setting.key));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

interface Instruction {
  readonly keyword: string;
  readonly rest: string;
}
interface Stage {
  readonly name: string;
  readonly base: string;
  readonly instructions: Instruction[];
}

function parseStages(text: string): Stage[] {
  const stages: Stage[] = [];
  for (const line of text.replace(/\\\n/g, ' ').split('\n')) {
    const [, keyword = '', rest = ''] = /^([A-Z]+)\s+(.*)$/.exec(line.trim()) ?? [];
    if (keyword === 'FROM') {
      const [base = '', , name = ''] = rest.split(/\s+/);
      stages.push({ name, base, instructions: [] });
    } else if (keyword !== '') stages.at(-1)?.instructions.push({ keyword, rest });
  }
  return stages;
}
const stages = parseStages(read('docker/Dockerfile'));
const stage = (name: string): Stage => {
  const found = stages.find((each) => each.name === name);
  if (!found) throw new Error(`the Dockerfile has no stage ${name}`);
  return found;
};
/** A stage and the stages that it is built on. */
const lineage = (name: string): Stage[] => {
  const own = stage(name);
  return stages.some((each) => each.name === own.base) ? [...lineage(own.base), own] : [own];
};
const values = (name: string, keyword: string): string[] =>
  lineage(name).flatMap(({ instructions }) => instructions.filter((each) => each.keyword === keyword).map((each) => each.rest));

describe('docker/Dockerfile', () => {
  const targets = ['api', 'worker', 'webhooks', 'lathe'];

  it.each(targets)('%s runs as a normal user, with a command whose source exists', (target) => {
    expect(values(target, 'USER').at(-1)).toBe('node');
    const command = JSON.parse(values(target, 'CMD').at(-1) ?? '[]') as string[];
    const [, script = ''] = command;
    expect(command[0]).toBe('node');
    expect(existsSync(join(root, script.replace(/^dist\//, '').replace(/\.js$/, '.ts')))).toBe(true);
  });

  it('copies only files that exist and that .dockerignore lets through', () => {
    const sent = read('.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copies = stages
      .flatMap(({ instructions }) => instructions)
      .filter(({ keyword, rest }) => keyword === 'COPY' && !rest.startsWith('--'));
    expect(copies.length).toBeGreaterThan(0);
    for (const { rest } of copies) {
      for (const source of rest.split(/\s+/).slice(0, -1)) {
        expect(existsSync(join(root, source)), source).toBe(true);
        expect(
          sent.some((path) => source === path || source.startsWith(`${path}/`)),
          `.dockerignore lets ${source} through`,
        ).toBe(true);
      }
    }
  });

  it('takes files only from stages that came before', () => {
    stages.forEach(({ instructions }, index) => {
      for (const { rest } of instructions) {
        const [, from] = /^--from=(\S+)/.exec(rest) ?? [];
        if (from !== undefined) expect(stages.slice(0, index).map((each) => each.name)).toContain(from);
      }
    });
  });

  it.each(['api', 'webhooks'])('%s carries no onnxruntime', (target) => {
    const [, from = ''] = /--from=(\S+) \/lathe\/node_modules/.exec(values(target, 'COPY').join('\n')) ?? [];
    expect(values(from, 'RUN').join('\n')).toMatch(/rm -rf .*node_modules\/onnxruntime-node( |$)/m);
  });

  it('sets only settings that exist', () => {
    const keys = stages
      .flatMap(({ name }) => values(name, 'ENV'))
      .flatMap((rest) => [...rest.matchAll(/(\w+)=/g)].map(([, key = '']) => key));
    for (const key of keys.filter((each) => each.startsWith('LATHE_'))) expect(settings).toContain(key);
  });
});

interface Service {
  readonly build?: { readonly context: string; readonly dockerfile: string; readonly target: string };
  readonly environment?: Record<string, string>;
  readonly depends_on?: Record<string, unknown>;
  readonly volumes?: string[];
  readonly healthcheck?: unknown;
  readonly image?: string;
}
interface Compose {
  readonly services: Record<string, Service>;
  readonly volumes?: Record<string, unknown>;
}

describe.each(['docker-compose.yml', 'docker/compose.test.yml'])('%s', (file) => {
  const compose = parse(read(file), { merge: true }) as Compose;
  const services = Object.entries(compose.services);

  it('builds existing targets and sets only settings that exist', () => {
    for (const [name, { build, environment }] of services) {
      if (build === undefined) continue;
      expect(stage(build.target).name, name).toBe(build.target);
      expect(existsSync(join(root, build.context, build.dockerfile))).toBe(true);
      for (const key of Object.keys(environment ?? {})) expect(settings, name).toContain(key);
    }
  });

  it('waits only for services that are there and tell when they are ready', () => {
    for (const [, { depends_on }] of services) {
      for (const other of Object.keys(depends_on ?? {})) expect(compose.services[other]?.healthcheck, other).toBeDefined();
    }
  });

  it('pins the major version of every image that it does not build', () => {
    for (const [name, { build, image }] of services) if (build === undefined) expect(image, name).toMatch(/:\d+/);
  });

  it('declares every named volume', () => {
    for (const [, { volumes }] of services) {
      for (const volume of volumes ?? []) expect(Object.keys(compose.volumes ?? {})).toContain(volume.split(':')[0]);
    }
  });
});
