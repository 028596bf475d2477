import { defineConfig } from 'vitest/config';

/** Everything that can break under running traffic: `npm run test:faults`. What takes seconds is in `npm test` too. */
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/faults/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 60_000,
    globalSetup: ['test/helpers/no-leftovers.ts'],
  },
});
