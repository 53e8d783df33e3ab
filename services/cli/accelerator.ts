/** `--target`: a shipped accelerator profile by name, or the path of a .json file with one. */
import { readFile } from 'node:fs/promises';
import { Value } from 'typebox/value';
import { AcceleratorProfile } from '#contracts';
import { UsageError } from './exit-codes.js';

/** Throws UsageError with one line per fault. */
export async function readAccelerator(nameOrFile: string): Promise<AcceleratorProfile> {
  if (!nameOrFile.endsWith('.json')) return shippedAccelerator(nameOrFile);
  const document = await parsed(nameOrFile);
  const faults = Value.Errors(AcceleratorProfile, document);
  if (faults.length > 0) {
    throw new UsageError(
      [
        `${nameOrFile} is not an accelerator profile:`,
        ...faults.map(({ instancePath, message }) => `  ${instancePath || '/'}: ${message}`),
      ].join('\n'),
    );
  }
  return Value.Parse(AcceleratorProfile, document);
}

async function shippedAccelerator(name: string): Promise<AcceleratorProfile> {
  const { shippedProfiles } = await import('#engine');
  const found = shippedProfiles.find((profile) => profile.name === name);
  if (found) return Value.Parse(AcceleratorProfile, found);
  const names = shippedProfiles.map((profile) => profile.name).join(', ');
  throw new UsageError(`There is no accelerator '${name}'. Profiles: ${names}; or the path of a .json file.`);
}

async function parsed(file: string): Promise<unknown> {
  const text = await readFile(file, 'utf8').catch(() => {
    throw new UsageError(`${file} cannot be read.`);
  });
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new UsageError(`${file} is not JSON.`);
  }
}
