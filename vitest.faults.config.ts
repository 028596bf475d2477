import { defineConfig } from 'vitest/config';

/** Everything that can break under running traffic, and what takes long: `npm run test:faults`. */
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/faults/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 15_000 } },
    globalSetup: ['test/helpers/no-leftovers.ts'],
  },
});
