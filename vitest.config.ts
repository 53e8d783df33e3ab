import { defineConfig } from 'vitest/config';

// Vitest also hands these to Node as --conditions, where 'import' or 'default' would make require() load ES modules.
const conditions = ['node'];
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
