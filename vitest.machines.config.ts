import { defineConfig } from 'vitest/config';

/** What boots browsers and machines, and so takes long and installs much: `npm run test:machines`. */
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/machines/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 15_000 } },
    globalSetup: ['test/helpers/no-leftovers.ts'],
  },
});
