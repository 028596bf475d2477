import { labDown } from '../../src/lab/lab.js';
import { listLabs } from '../../src/lab/state.js';

/** Labs of tests have this prefix, so that a run that was cut off can be cleared away without touching a user's lab. */
export const TEST_LAB_PREFIX = 'test-';

async function removeTestLabs(): Promise<void> {
  for (const name of listLabs()) if (name.startsWith(TEST_LAB_PREFIX)) await labDown(name);
}

export async function setup(): Promise<void> {
  await removeTestLabs();
}

export async function teardown(): Promise<void> {
  await removeTestLabs();
}
