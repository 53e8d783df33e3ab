/** `npm run openapi`: writes docs/openapi.json from the route schemas. No server is started and nothing is connected. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openApiDocument } from '../test/support/openapi-document.js';

await writeFile(join(import.meta.dirname, 'openapi.json'), `${JSON.stringify(await openApiDocument(), null, 2)}\n`);
