import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { KubernetesApi } from '../../../../src/control/kubernetes/api.js';
import { followNodes } from '../../../../src/control/kubernetes/follow.js';
import { createRecordingLog } from '../../../helpers/recording-log.js';

const BOOKMARK = '{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"2"}}}\n';

let stop: AbortController;
let opened: number;

beforeEach(() => {
  stop = new AbortController();
  opened = 0;
});
afterEach(() => stop.abort());

/** An API whose watches say that and end at once. */
function follow(says: readonly string[]): Promise<void> {
  const api: Pick<KubernetesApi, 'server' | 'ask' | 'open'> = {
    server: () => 'https://api',
    ask: async () => ({ items: [], metadata: { resourceVersion: '1' } }),
    async open() {
      await setTimeout(1);
      opened++;
      return Readable.from(says.map((line) => Buffer.from(line))) as unknown as IncomingMessage;
    },
  };
  const ignore = () => undefined;
  const told = { listed: async () => undefined, changed: ignore, deleted: ignore, onAnswer: ignore, onWatch: ignore };
  const options = { api: api as KubernetesApi, prefix: 'p/', silenceMs: 60_000, log: createRecordingLog(), ...told };
  return followNodes(options, stop.signal);
}

const openedTimes = (times: number) =>
  vi.waitFor(() => expect(opened).toBeGreaterThanOrEqual(times), { timeout: 10_000, interval: 5 });

it('a watch that ends at once with nothing is begun again ever more rarely', async () => {
  const began = performance.now();
  const following = follow([]);
  await openedTimes(4);
  // 200, 400 and 800 ms, each less a half at most.
  expect(performance.now() - began).toBeGreaterThanOrEqual(690);
  expect(opened).toBe(4);
  stop.abort();
  await following;
});

it('a watch that ends after it has told of something is begun again at once', async () => {
  const began = performance.now();
  const following = follow([BOOKMARK]);
  await openedTimes(4);
  expect(performance.now() - began).toBeLessThan(690);
  stop.abort();
  await following;
});
