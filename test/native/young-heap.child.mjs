// How large the young heaps of two threads become under load, in MB: the second one's making undoes the first one's bound.

import { once } from 'node:events';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { keepYoungHeapSmall } from '../../dist/system/young-heap.js';

/** Objects that live for a while, many times the young heap. The worker has this function as text. */
function youngAfterLoad(require) {
  let kept = [];
  for (let round = 0; round < 20; round++) {
    kept = [];
    for (let i = 0; i < 40_000; i++) kept.push({ number: i, pair: [i, i + 1], text: String(i) });
  }
  const spaces = require('node:v8').getHeapSpaceStatistics();
  return spaces.find(({ space_name }) => space_name === 'new_space').space_size / 2 ** 20;
}

keepYoungHeapSmall();
const code = `const { parentPort } = require('node:worker_threads');
parentPort.on('message', () => parentPort.postMessage((${youngAfterLoad})(require)));`;
const worker = new Worker(code, { eval: true });
worker.once('online', keepYoungHeapSmall);
await once(worker, 'online');
worker.postMessage('go');
const [second] = await once(worker, 'message');
const first = youngAfterLoad(createRequire(import.meta.url));
await worker.terminate();
process.stdout.write(JSON.stringify({ first, second }));
