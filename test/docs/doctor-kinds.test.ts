/** The guide of the doctor names every kind of finding with the line that its rule gives. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { findingKinds } from '../../services/engine/quantization/repair/finding.js';
import { rules } from '../../services/engine/quantization/repair/rules.js';
import { repositoryRoot } from '../support/running-service.js';

it('docs/guides/doctor.md has a row for each kind', async () => {
  const rows = (await readFile(join(repositoryRoot, 'docs/guides/doctor.md'), 'utf8')).split('\n').filter((line) => line.startsWith('| `'));
  const described = rows.map((row) =>
    row
      .split('|')
      .slice(1, 3)
      .map((cell) => cell.trim()),
  );
  expect(described).toEqual(findingKinds.map((kind) => [`\`${kind}\``, rules[kind].title]));
});
