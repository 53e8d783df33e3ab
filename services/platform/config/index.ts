/** The configuration of all processes. The only reader of process.env. */
import type { Config } from './config.js';
import { parseConfig } from './parse-config.js';

export type {
  Config,
  ConfigWithDatabase,
  EgressRule,
  FilesystemStorageConfig,
  HttpConfig,
  JobConfig,
  ProcessRole,
  QueueConfig,
  S3StorageConfig,
  StorageConfig,
  WebhookConfig,
} from './config.js';
export { describeConfig, type SettingDescription } from './environment-schema.js';
export { ConfigError, parseConfig } from './parse-config.js';

/** Reads the environment of this process. Throws ConfigError that lists every fault at once. */
export function loadConfig(): Config {
  return parseConfig(process.env, process.cwd());
}

/** The environment for a process that this one starts: its own, with `changes` (undefined removes a variable). */
export function childEnvironment(changes: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const merged = { ...process.env, ...changes };
  return Object.fromEntries(Object.entries(merged).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** The few variables that programs without any settings of ours need: never credentials. */
export function minimalEnvironment(): Record<string, string> {
  const kept = ['PATH', 'TZ', 'TMPDIR', 'TEMP', 'TMP', 'SystemRoot', 'HOME'];
  return Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => kept.includes(entry[0]) && entry[1] !== undefined),
  );
}
