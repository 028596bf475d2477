import { beforeEach, describe, expect, it, vi } from 'vitest';
import { createMemoryRegistry, type MemoryRegistry } from '../../../src/control/memory-registry.js';
import type { Registry } from '../../../src/control/registry.js';
import { RudderError } from '../../../src/core/errors.js';
import { parseNetworkConfig } from '../../../src/core/network-config.js';
import { waitForNetworkConfig } from '../../../src/daemon/wait-for-config.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

const KEY = '/coreos.com/network/config';
const JSON_TEXT = '{"Network":"10.240.0.0/16"}';

let log: RecordingLog;
let registry: MemoryRegistry;
let stop: AbortController;
beforeEach(() => {
  log = createRecordingLog();
  registry = createMemoryRegistry();
  stop = new AbortController();
});

const wait = (from: Registry = registry) =>
  waitForNetworkConfig(from, { key: KEY, flags: ['--etcd-prefix', '/a b'] }, log, stop.signal);

/** A registry whose first answers are these failures. */
const failing = (...errors: Error[]): Registry => ({
  ...registry,
  getConfig: async () => {
    const error = errors.shift();
    if (error !== undefined) throw error;
    return registry.getConfig();
  },
});

describe('waitForNetworkConfig', () => {
  it('returns the config and the text it was parsed from, without a word', async () => {
    registry.putRaw('config', JSON_TEXT);
    expect(await wait()).toEqual({ config: parseNetworkConfig(JSON_TEXT), json: JSON_TEXT });
    expect(log.lines).toEqual([]);
  });

  it('says once which key is missing and how to create it, and waits', async () => {
    let asked = 0;
    const counting: Registry = {
      ...registry,
      getConfig: () => {
        asked++;
        return registry.getConfig();
      },
    };
    const waiting = wait(counting);
    await vi.waitFor(() => expect(asked).toBeGreaterThanOrEqual(2), { timeout: 5000 });
    expect(log.lines).toEqual([
      {
        level: 'warn',
        message: expect.stringMatching(/^waiting for the network config: the key does not exist in etcd/),
        fields: { key: KEY, remedy: `rudder init '${JSON_TEXT}' --etcd-prefix '/a b'`, suppressed: 0 },
      },
    ]);
    await registry.createConfig(JSON_TEXT);
    expect((await waiting).json).toBe(JSON_TEXT);
  });

  it.each([
    '',
    '{}',
    '{"Network":"10.240.0.0/33"}',
    '{"Network":"10.240.0.0/16","Backend":{"Type":"vxlan"}}',
  ])('fails at once for the config %j', async (json) => {
    registry.putRaw('config', json);
    await expect(wait()).rejects.toMatchObject({ name: 'RudderError', code: 'network-config' });
    expect(log.lines).toEqual([]);
  });

  it('waits for an etcd that is away', async () => {
    registry.putRaw('config', JSON_TEXT);
    const away = new RudderError('etcd-unavailable', 'etcd at http://a cannot be reached: ECONNREFUSED');
    expect((await wait(failing(away))).json).toBe(JSON_TEXT);
    expect(log.lines).toEqual([
      {
        level: 'warn',
        message: 'waiting for etcd',
        fields: { what: 'network config', reason: away.message, suppressed: 0 },
      },
    ]);
  });

  it.each([
    ['refuses', new RudderError('etcd-refused', 'etcd wants a user')],
    ['meets a bug', new TypeError('x is not a function')],
  ])('fails at once if etcd %s', async (_, error) => {
    registry.putRaw('config', JSON_TEXT);
    await expect(wait(failing(error))).rejects.toBe(error);
  });

  it('does not ask once it is aborted', async () => {
    const reason = new Error('SIGTERM');
    stop.abort(reason);
    await expect(wait(failing(new Error('asked')))).rejects.toBe(reason);
  });

  it.each([
    ['the key', () => registry],
    ['etcd', () => failing(...Array.from({ length: 99 }, () => new RudderError('etcd-unavailable', 'away')))],
  ])('ends when aborted while waiting for %s', async (_, from) => {
    const waiting = wait(from());
    const ended = expect(waiting).rejects.toThrow();
    await vi.waitFor(() => expect(log.lines).toHaveLength(1));
    stop.abort();
    await ended;
  });
});
