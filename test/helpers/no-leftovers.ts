import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { labDown } from '../../src/lab/lab.js';
import { listLabs } from '../../src/lab/state.js';

/** Labs of tests have this prefix, so that a run that was cut off can be cleared away without touching a user's lab. */
export const TEST_LAB_PREFIX = 'test-';

const LOCK = join(tmpdir(), 'rudder-tests.lock');
const PATIENCE_MS = 1000;

/** Has the lock as long as our end of the pipe is open: also a run that is killed gives it back. */
let holder: ChildProcess | undefined;

/** Labs have names that each run uses: what one clears away would be another one's, in the middle of its tests. */
async function waitForOtherRuns(): Promise<void> {
  holder = spawn('flock', [LOCK, 'sh', '-c', 'echo held; cat > /dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const said = setTimeout(() => console.warn('waiting for another run of the tests to end'), PATIENCE_MS);
  await Promise.race([once(holder.stdout!, 'data'), once(holder, 'exit')]).finally(() => clearTimeout(said));
  if (holder.exitCode !== null) throw new Error(`cannot lock ${LOCK}: flock ended with ${holder.exitCode}`);
}

async function removeTestLabs(): Promise<void> {
  for (const name of listLabs()) if (name.startsWith(TEST_LAB_PREFIX)) await labDown(name);
}

export async function setup(): Promise<void> {
  await waitForOtherRuns();
  await removeTestLabs();
}

export async function teardown(): Promise<void> {
  await removeTestLabs();
  holder?.stdin?.end();
}
