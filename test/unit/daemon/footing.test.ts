import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Registry } from '../../../src/control/etcd/registry.js';
import { withinPatience } from '../../../src/control/patience.js';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import { RudderError } from '../../../src/core/errors.js';
import type { LastKnown } from '../../../src/core/last-known.js';
import { parseCommonConfig } from '../../../src/core/network-config.js';
import { type FootingOptions, findFooting, flawOf } from '../../../src/daemon/footing.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../helpers/memory-registry.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

const KEY = '/coreos.com/network/config';
const JSON_TEXT = '{"Network":"10.240.0.0/16"}';
const HOUR = 3_600_000;

let log: RecordingLog;
let registry: MemoryRegistry;
let stop: AbortController;
let known: LastKnown;
let phase: string | undefined;
const enter = (text: string) => {
  phase = text;
};
beforeEach(() => {
  phase = undefined;
  log = createRecordingLog();
  registry = createMemoryRegistry();
  stop = new AbortController();
  known = {
    source: 'here',
    configJson: JSON_TEXT,
    nodeId: 'me',
    publicIp: parseIpv4('192.0.2.7')!,
    subnet: parseSubnet('10.240.7.0/24')!,
    holding: { revision: 5, ttlId: '7' },
    validUntil: Date.now() + HOUR,
    ttlSeconds: 2 * 3600,
    savedAt: Date.now() - HOUR,
    keyDiffers: false,
    peers: [],
  };
});

const me = () => ({
  source: 'here',
  publicIp: known.publicIp,
  nodeId: 'me',
  ttlSeconds: 24 * 3600,
});

function find(
  from: Registry = registry,
  lastKnown?: LastKnown,
  check: FootingOptions['check'] = async () => undefined,
  waitedMs = 0,
) {
  const configPlace = { key: KEY, flags: ['--etcd-prefix', '/a b'] };
  const getConfig = (patienceMs?: number) => {
    const answer = from.getConfig();
    return patienceMs === undefined ? answer : withinPatience('etcd', answer, patienceMs);
  };
  const membership = { kind: 'etcd', source: 'here', configPlace, getConfig, flawOf: () => undefined } as const;
  return findFooting({ ...me(), membership, lastKnown, waitedMs, check, enter, log }, stop.signal);
}

/** A registry whose first answers are these failures. */
const failing = (...errors: Error[]): Registry => ({
  ...registry,
  getConfig: async () => {
    const error = errors.shift();
    if (error !== undefined) throw error;
    return registry.getConfig();
  },
});

const away = () => new RudderError('registry-unavailable', 'etcd at http://a cannot be reached: ECONNREFUSED');

describe('without a lease of the last run', () => {
  it('returns the config and the text it was parsed from, without a word', async () => {
    registry.putRaw('config', JSON_TEXT);
    const config = parseCommonConfig(JSON_TEXT);
    expect(await find()).toEqual({ config, json: JSON_TEXT, fallback: undefined, degraded: undefined });
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
    const waiting = find(counting);
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

  it('says which file is missing where others write the config, and names no command that refuses there', async () => {
    const configPlace = { key: '/f/net-conf.json', isFile: true };
    let json: string | undefined;
    const getConfig = async () => json;
    const membership = {
      kind: 'kubernetes',
      source: 'here',
      configPlace,
      getConfig,
      flawOf: () => undefined,
    } as const;
    const options = {
      ...me(),
      membership,
      lastKnown: undefined,
      waitedMs: 0,
      check: async () => undefined,
      enter,
      log,
    };
    const waiting = findFooting(options, stop.signal);
    await vi.waitFor(() => expect(log.lines).toHaveLength(1));
    expect(log.lines[0]).toMatchObject({
      message: 'waiting for the network config: there is no such file',
      fields: {
        key: configPlace.key,
        remedy: 'mount the ConfigMap there, or name another file with --net-config-path',
      },
    });
    expect(phase).toBe(
      'waiting for kubernetes and the network config: there is no network config file /f/net-conf.json',
    );
    json = JSON_TEXT;
    expect((await waiting).json).toBe(JSON_TEXT);
  });

  it.each([
    '',
    '{}',
    '{"Network":"10.240.0.0/33"}',
    '{"Network":"10.240.0.0/16","Backend":{"Type":"ipsec"}}',
  ])('fails at once for the config %j', async (json) => {
    registry.putRaw('config', json);
    await expect(find()).rejects.toMatchObject({ name: 'RudderError', code: 'network-config' });
    expect(log.lines).toEqual([]);
  });

  it('waits for an etcd that is away', async () => {
    registry.putRaw('config', JSON_TEXT);
    const error = away();
    expect((await find(failing(error))).json).toBe(JSON_TEXT);
    const fields = { what: 'network config', reason: error.message, suppressed: 0 };
    expect(log.lines).toEqual([{ level: 'warn', message: 'waiting for etcd', fields }]);
    expect(phase).toBe(`waiting for etcd and the network config: ${error.message}`);
  });

  it.each([
    ['refuses', new RudderError('registry-refused', 'etcd wants a user')],
    ['meets a bug', new TypeError('x is not a function')],
  ])('fails at once if etcd %s', async (_, error) => {
    registry.putRaw('config', JSON_TEXT);
    await expect(find(failing(error))).rejects.toBe(error);
  });

  it('does not ask once it is aborted', async () => {
    const reason = new Error('SIGTERM');
    stop.abort(reason);
    await expect(find(failing(new Error('asked')))).rejects.toBe(reason);
  });

  it.each([
    ['the key', () => registry],
    ['etcd', () => failing(...Array.from({ length: 99 }, away))],
  ])('ends when aborted while waiting for %s', async (_, from) => {
    const waiting = find(from());
    const ended = expect(waiting).rejects.toThrow();
    await vi.waitFor(() => expect(log.lines).toHaveLength(1));
    stop.abort();
    await ended;
  });
});

describe('with a valid lease of the last run', () => {
  it.each<[string, () => Registry, RegExp]>([
    ['cannot be reached', () => failing(away()), /ECONNREFUSED/],
    ['refuses', () => failing(new RudderError('registry-refused', 'certificate has expired')), /has expired/],
    ['has no config', () => registry, /there is no network config \/coreos/],
  ])('goes on with it at once if etcd %s, and says why', async (_, from, reason) => {
    const began = performance.now();
    const footing = await find(from(), known);
    expect(performance.now() - began).toBeLessThan(1000);
    expect(footing).toEqual({
      config: parseCommonConfig(JSON_TEXT),
      json: JSON_TEXT,
      fallback: known,
      degraded: expect.stringMatching(reason),
    });
    expect(log.lines).toEqual([
      {
        level: 'warn',
        message: 'degraded: going on with the last known lease, peers and network config',
        fields: { reason: footing.degraded, subnet: '10.240.7.0/24', peers: 0 },
      },
    ]);
  });

  it.each([
    '',
    '{"Network":"10.240.0.0/33"}',
    '{"Network":"10.240.0.0/16","Backend":{"Type":"ipsec"}}',
  ])('goes on with it if the config is now %j', async (json) => {
    registry.putRaw('config', json);
    expect(await find(registry, known)).toMatchObject({ json: JSON_TEXT, degraded: /network config/ });
  });

  it('goes on with it if this host cannot have the config of now, but had that of then', async () => {
    registry.putRaw('config', '{"Network":"10.9.0.0/16"}');
    const refusal = new RudderError('network-config', 'the default gateway lies inside the overlay');
    const check: FootingOptions['check'] = async ({ network }) => {
      if (network.address === parseIpv4('10.9.0.0')) throw refusal;
    };
    expect(await find(registry, known, check)).toMatchObject({ json: JSON_TEXT, degraded: refusal.message });
  });

  it.each([
    [0, 2],
    [1000, 1],
    [5000, 0.5],
  ])('goes on with it after a silence of two seconds, %i ms of them before', async (waitedMs, seconds) => {
    const silent: Registry = { ...registry, getConfig: () => new Promise(() => undefined) };
    const began = performance.now();
    const degraded = expect.stringContaining(`etcd has not answered within ${seconds} s`);
    expect(await find(silent, known, undefined, waitedMs)).toMatchObject({ fallback: known, degraded });
    expect(performance.now() - began).toBeLessThan(seconds * 1000 + 900);
  });

  it('asks etcd for the lease if the config is there, however it is written, and has it to fall back on', async () => {
    const json = '{ "SubnetLen": 24, "network": "10.240.0.0/16" }';
    registry.putRaw('config', json);
    expect(await find(registry, known)).toMatchObject({ json, fallback: known, degraded: undefined });
  });

  it('has nothing to fall back on if the config is another', async () => {
    registry.putRaw('config', '{"Network":"10.240.0.0/16","SubnetLen":26}');
    expect(await find(registry, known)).toMatchObject({ fallback: undefined, degraded: undefined });
  });

  it('does not hide a bug', async () => {
    const bug = new TypeError('x is not a function');
    await expect(find(failing(bug), known)).rejects.toBe(bug);
  });
});

describe('a lease of the last run that is none now', () => {
  it('is told once, while etcd is waited for', async () => {
    registry.putRaw('config', JSON_TEXT);
    const stale = { ...known, nodeId: 'another' };
    expect(await find(failing(away(), away()), stale)).toMatchObject({ fallback: undefined, degraded: undefined });
    expect(log.lines.map(({ message }) => message)).toEqual(['the last known lease is not used', 'waiting for etcd']);
  });

  it('is used after all as soon as the clock is right', async () => {
    const early = { ...known, savedAt: Date.now() + 600 };
    const errors = Array.from({ length: 99 }, away);
    expect(await find(failing(...errors), early)).toMatchObject({ fallback: early, degraded: /ECONNREFUSED/ });
    expect(log.lines[0]).toMatchObject({ fields: { reason: /before it was saved/ } });
  });

  const DAYS = 24 * HOUR;
  it.each<[string, () => Partial<LastKnown>, RegExp | undefined]>([
    ['nothing is wrong', () => ({}), undefined],
    ['it is a reservation', () => ({ validUntil: null, savedAt: Date.now() + DAYS }), undefined],
    ['it is of another cluster', () => ({ source: 'there' }), /another cluster, "there"/],
    ['it is of another node id', () => ({ nodeId: 'you' }), /another node id, "you"/],
    ['it has run out', () => ({ validUntil: Date.now() - 1 }), /ran out at 20/],
    [
      'the clock went back 30 days',
      () => ({ validUntil: Date.now() + 30 * DAYS + HOUR, savedAt: Date.now() + 30 * DAYS }),
      /the clock says .*, before it was saved/,
    ],
    ['it has more left than its TTL', () => ({ validUntil: Date.now() + 3 * HOUR }), /longer than its TTL of 7200 s/],
    [
      'it has more left than the TTL of now, and does not say its own',
      () => ({ validUntil: Date.now() + 25 * HOUR, ttlSeconds: undefined, savedAt: undefined }),
      /longer than its TTL of 86400 s/,
    ],
    ['it says neither TTL nor time', () => ({ ttlSeconds: undefined, savedAt: undefined }), undefined],
  ])('%s', (_, change, flaw) => {
    const found = flawOf({ ...known, ...change() }, me());
    if (flaw === undefined) expect(found).toBeUndefined();
    else expect(found).toMatch(flaw);
  });
});
