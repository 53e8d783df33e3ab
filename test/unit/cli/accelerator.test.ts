/** `--target` of `lathe inspect`: names and files, every fault by its JSON pointer. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readAccelerator } from '../../../services/cli/accelerator.js';
import { shippedProfile } from '../../../services/engine/accelerators/index.js';
import { temporaryFolder } from '../../support/temporary-folder.js';

async function file(document: unknown): Promise<string> {
  const path = join(await temporaryFolder(), 'profile.json');
  await writeFile(path, typeof document === 'string' ? document : JSON.stringify(document));
  return path;
}

it('knows a shipped profile by name, and reads one from a file', async () => {
  expect(await readAccelerator('dpu-pow2')).toEqual(shippedProfile('dpu-pow2'));
  expect(await readAccelerator(await file({ ...shippedProfile('ethos-u'), name: 'mine' }))).toMatchObject({ name: 'mine' });
});

it('names what there is when the name is unknown, and every fault of a file', async () => {
  await expect(readAccelerator('abacus')).rejects.toThrow(/no accelerator 'abacus'\. Profiles: eyeriss-16, .*\.json file/);
  await expect(readAccelerator(await file('{'))).rejects.toThrow(/is not JSON/);
  await expect(readAccelerator('nowhere.json')).rejects.toThrow(/nowhere\.json cannot be read/);
  await expect(readAccelerator(await file({ ...shippedProfile('ethos-u'), buffers: { weight_bytes: 0 } }))).rejects.toThrow(
    /\/buffers\/weight_bytes: .*\n|\/buffers: .*map_bytes/,
  );
});
