import { defineConfig } from 'vitest/config';

/** One more than a small machine has cores: half of what runs side by side waits for an etcd or for a deadline. */
const SIDE_BY_SIDE = 3;

/**
 * Unit and contract tests run side by side; end-to-end tests one file after the other, since they measure time
 * against deadlines on a machine with few cores. Forks, not threads: native addons and threads do not mix in vitest.
 */
export default defineConfig({
  test: {
    pool: 'forks',
    // Certificates are made and registries started in hooks, beside other tests on few cores.
    hookTimeout: 60_000,
    // The same: a condition is waited for until its deadline, and no longer than it takes.
    expect: { poll: { timeout: 15_000 } },
    maxWorkers: SIDE_BY_SIDE,
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 20_000 } },
      { extends: true, test: { name: 'contract', include: ['test/contract/**/*.test.ts'], testTimeout: 30_000 } },
      { extends: true, test: { name: 'native', include: ['test/native/**/*.test.ts'], testTimeout: 30_000 } },
      // In network namespaces of their own, which needs root and no lab.
      {
        extends: true,
        test: { name: 'kernel', include: ['test/kernel/**/*.test.ts'], testTimeout: 30_000, fileParallelism: false },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          globalSetup: ['test/helpers/no-leftovers.ts'],
        },
      },
    ],
  },
});
