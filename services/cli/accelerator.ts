/** `--target`: a shipped accelerator profile by name, or the path of a .json file with one. */
import { Value } from 'typebox/value';
import { AcceleratorProfile } from '#contracts';
import { UsageError } from './exit-codes.js';
import { readDocument, refuseFaults } from './json-document.js';

/** Throws UsageError with one line per fault. */
export async function readAccelerator(nameOrFile: string): Promise<AcceleratorProfile> {
  if (!nameOrFile.endsWith('.json')) return shippedAccelerator(nameOrFile);
  const document = await readDocument(nameOrFile);
  const faults = Value.Errors(AcceleratorProfile, document);
  refuseFaults(
    nameOrFile,
    'an accelerator profile',
    faults.map(({ instancePath, message }) => ({ pointer: instancePath, message })),
  );
  return Value.Parse(AcceleratorProfile, document);
}

async function shippedAccelerator(name: string): Promise<AcceleratorProfile> {
  const { shippedProfiles } = await import('#engine');
  const found = shippedProfiles.find((profile) => profile.name === name);
  if (found) return Value.Parse(AcceleratorProfile, found);
  const names = shippedProfiles.map((profile) => profile.name).join(', ');
  throw new UsageError(`There is no accelerator '${name}'. Profiles: ${names}; or the path of a .json file.`);
}
