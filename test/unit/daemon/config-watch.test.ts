import { beforeEach, describe, expect, it, vi } from 'vitest';
import { parseSubnet } from '../../../src/core/address-text.js';
import { RudderError } from '../../../src/core/errors.js';
import { parseCommonConfig } from '../../../src/core/network-config.js';
import { type ConfigWatch, type ConfigWatchOptions, watchConfig } from '../../../src/daemon/config-watch.js';
import { createRecordingLog, type RecordingLog } from '../../helpers/recording-log.js';

const IN_USE = '{"Network":"10.42.0.0/16"}';
let log: RecordingLog;
beforeEach(() => {
  log = createRecordingLog();
});

function watch(changes: Partial<ConfigWatchOptions> = {}): ConfigWatch {
  return watchConfig({
    config: parseCommonConfig(IN_USE),
    own: parseSubnet('10.42.7.0/24')!,
    place: { key: '/corp/net/config', flags: ['--etcd-prefix', '/corp/net'] },
    isDegraded: false,
    checkConfig: async () => undefined,
    log,
    ...changes,
  });
}

it('is unknown to a start that went on without it, and then current, which is no news', () => {
  const stored = watch({ isDegraded: true });
  expect(stored.status()).toEqual({ state: 'unknown', detail: null });
  stored.changed(IN_USE);
  expect(stored.status()).toEqual({ state: 'current', detail: null });
  expect(log.lines).toEqual([]);
});

describe('the stored network config', () => {
  const warnings = () => log.lines.filter(({ message }) => /network config/.test(message));

  it.each<[string, string | undefined, string, RegExp | null]>([
    ['written in another way', '{ "network": "10.42.0.0/16", "SubnetLen": 24 }', 'current', null],
    [
      'changed',
      '{"Network":"10.42.0.0/16","SubnetLen":26}',
      'changed',
      /^SubnetLen 24 becomes 26, .*: a restart applies it and leases another subnet than 10\.42\.7\.0\/24$/,
    ],
    [
      'changed without moving us',
      '{"Network":"10.42.0.0/16","Backend":{"Port":9000}}',
      'changed',
      /^Backend.Port 8285 becomes 9000: a restart applies it and keeps the subnet$/,
    ],
    [
      'invalid',
      '{"Network":"10.42.0.0/99"}',
      'invalid',
      /10\.42\.0\.0\/99.*; correct the key \/corp\/net\/config with rudder config set KEY VALUE --etcd-prefix \/corp\/net, see .*: a restart goes on with the config in use/,
    ],
    [
      'deleted',
      undefined,
      'deleted',
      /^the key \/corp\/net\/config is deleted: a restart goes on with the config in use/,
    ],
  ])('%s', (_, json, state, detail) => {
    const stored = watch();
    stored.changed(json);
    expect(stored.status().state).toBe(state);
    if (detail === null) {
      expect(warnings()).toEqual([]);
      return;
    }
    expect(stored.status().detail).toMatch(detail);
    expect(warnings()).toMatchObject([{ level: 'warn', fields: { state } }]);
    stored.changed(IN_USE);
    expect(stored.status()).toEqual({ state: 'current', detail: null });
  });

  it('that this host could not have is invalid: a restart would not apply it', async () => {
    const refusal = new RudderError('network-config', 'it covers the default gateway');
    const stored = watch({ checkConfig: () => Promise.reject(refusal) });
    stored.changed('{"Network":"10.0.0.0/16"}');
    await vi.waitFor(() => expect(stored.status().state).toBe('invalid'));
    expect(stored.status().detail).toMatch(/^it covers the default gateway: a restart goes on with/);
  });
});
