import { Worker } from 'node:worker_threads';
import { messageOf, RudderError } from '../../core/errors.js';
import { native, type PathHandles } from '../../system/native.js';
import { keepYoungHeapSmall } from '../../system/young-heap.js';
import { nowMs } from './tables/clock.js';
import { CONTROL_STOP, type PathSettings, type SharedMemory } from './tables/memory.js';

/** How long a worker may take to see the stop event before it is ended from outside. */
const STOP_DEADLINE_MS = 500;

/** A running worker. */
export interface PacketPath {
  /** The main thread has something for it to do, beside packets. Nothing happens once it is stopped. */
  wake(): void;
  /** Ends the worker, within half a second whatever it does. Device and socket stay open. */
  stop(): Promise<void>;
}

/**
 * Starts the worker thread on a device and a socket. Counters and routes are in the memory, so they outlive it: a path
 * that is stopped and started again, on another socket say, goes on counting.
 * @param failed told if the worker ends although nobody stopped it
 */
export async function startPacketPath(
  devices: Pick<PathHandles, 'tun' | 'udp'>,
  memory: SharedMemory,
  settings: PathSettings,
  failed: (error: RudderError) => void,
): Promise<PacketPath> {
  // Of its own: what has been signalled once stays so, where the wire is plain.
  const handles = { ...devices, event: native.openEvent() };
  Atomics.store(memory.control, CONTROL_STOP, 0);
  // Its heart has not stopped before it begins to beat.
  memory.clock[0] = nowMs();
  const workerData = { handles, memory, settings };
  const worker = new Worker(new URL('./datapath/worker.js', import.meta.url), { workerData, name: 'packet-path' });
  // Which the new thread's heap has undone.
  worker.once('online', keepYoungHeapSmall);
  let told = false;
  let isStopped = false;
  function fail(error: RudderError): void {
    if (!told && Atomics.load(memory.control, CONTROL_STOP) === 0) failed(error);
    told = true;
  }
  worker.on('error', (error) => {
    fail(new RudderError('data-path', `the packet path died: ${messageOf(error)}; restart rudder`, { cause: error }));
  });
  worker.on('exit', (code) => {
    fail(new RudderError('data-path', `the packet path ended by itself with code ${code}; restart rudder`));
  });
  // A process that exits waits for its worker: a second signal, or a bug, must not wait for the poll's timeout.
  process.once('exit', end);

  function end(): void {
    Atomics.store(memory.control, CONTROL_STOP, 1);
    native.signalEvent(handles.event);
  }

  // An error before that is told by the listener above; packets that wait in the queues are not lost meanwhile.
  await new Promise((resolve) => worker.once('online', resolve).once('exit', resolve));
  return {
    wake() {
      if (!isStopped) native.signalEvent(handles.event);
    },
    async stop() {
      isStopped = true;
      end();
      process.off('exit', end);
      await ended(worker);
      native.close(handles.event);
    },
  };
}

async function ended(worker: Worker): Promise<void> {
  if (worker.threadId === -1) return;
  const timer = setTimeout(() => void worker.terminate(), STOP_DEADLINE_MS);
  // Not events.once(): it rejects on 'error', and a worker that fails while it stops has stopped too.
  await new Promise((resolve) => worker.once('exit', resolve));
  clearTimeout(timer);
}
