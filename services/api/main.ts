/** The API process: configuration, dependencies, app, listen, and an orderly end. */
import { runProcess } from '#platform/lifecycle';
import { startApi } from './start-api.js';

await runProcess('api', startApi);
