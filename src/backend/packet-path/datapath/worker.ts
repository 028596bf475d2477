import { workerData } from 'node:worker_threads';
import { native } from '../../../system/native.js';
import type { WorkerData } from '../tables/memory.js';
import { forward } from './loop.js';

/**
 * The worker thread. It never returns to its event loop before it stops, so it gets no messages: all it needs comes
 * with workerData or through shared memory.
 */
const { handles, memory, settings } = workerData as WorkerData;
native.attach({ ...handles, ...memory });
if (settings.sealed !== undefined) native.attachSealed(settings.sealed);
try {
  forward(native, memory, settings);
} finally {
  native.detach();
}
