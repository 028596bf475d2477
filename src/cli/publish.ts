import { lstat, rm } from 'node:fs/promises';
import { shorten } from '../core/errors.js';
import { tryDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { prepareSubnetEnv, publishSubnetEnv } from '../state/subnet-publish.js';
import { complain } from './complain.js';
import { EXIT_OK } from './exit-codes.js';

/** `rudder publish`: root's part of writing the subnet file, for a daemon that runs as another user. */
export async function publish(subnetFile: string, prefix: string, isBeforeStart: boolean): Promise<number> {
  if (isBeforeStart) {
    const problem = await prepareSubnetEnv(subnetFile, prefix);
    if (problem !== undefined) {
      complain(`${subnetFile} was refused and is empty now: ${shorten(problem, 200)}`);
    }
    await removeDeadSocket(controlSocketOf(subnetFile));
    return EXIT_OK;
  }
  const result = await publishSubnetEnv(subnetFile, prefix);
  if (result !== 'unchanged') process.stdout.write(`${result} ${subnetFile}\n`);
  return EXIT_OK;
}

/** One that a daemon of root's has left when it was killed: the new daemon may not remove it. */
async function removeDeadSocket(path: string): Promise<void> {
  const isDead = (await tryDaemon(path, 'GET', '/healthz')).is === 'absent';
  const isSocket = await lstat(path).then(
    (stats) => stats.isSocket(),
    () => false,
  );
  if (isSocket && isDead) await rm(path, { force: true });
}
