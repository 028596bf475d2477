import { expect, it, vi } from 'vitest';
import { parseNetworkConfig } from '../../../src/backend/config.js';
import { openMembership } from '../../../src/control/open.js';
import { parseSubnet } from '../../../src/core/address-text.js';
import { formatSubnet } from '../../../src/core/subnet.js';
import { ip } from '../../helpers/path.js';
import { createRecordingLog } from '../../helpers/recording-log.js';

const JSON_TEXT = '{"Network":"10.240.0.0/16"}';
const config = parseNetworkConfig(JSON_TEXT);
const identity = { publicIp: ip('10.1.1.1'), nodeId: 'n', backend: { type: 'udp', data: {} } };
const open = () => openMembership({ kind: 'embedded', configJson: JSON_TEXT }, 60, createRecordingLog());
const { signal } = new AbortController();

it('has the config that it was given, and asks nobody', async () => {
  const membership = await open();
  expect(await membership.getConfig()).toBe(JSON_TEXT);
  expect(membership).toMatchObject({ kind: 'embedded', endpoints: [] });
});

it('takes the subnet of the last run, if that still fits', async () => {
  const join = async (text?: string) =>
    (await open()).join({ config, identity, savedSubnet: text === undefined ? undefined : parseSubnet(text) }, signal);
  const again = await join('10.240.26.0/24');
  expect(formatSubnet(again.subnet)).toBe('10.240.26.0/24');
  expect(again.created).toBe(false);
  for (const text of [undefined, '10.1.26.0/24', '10.240.0.0/24', '10.240.26.0/25']) {
    const other = await join(text);
    expect(formatSubnet(other.subnet)).toMatch(/^10\.240\.[1-9]\d*\.0\/24$/);
    expect(other.created).toBe(true);
  }
});

it('is current at once, but not before the caller knows what it is, and never afterwards if stopped', async () => {
  const told = { onCurrent: vi.fn(), onConfig: vi.fn(), onPeers: vi.fn(), problemOf: () => undefined };
  const own = await (await open()).join({ config, identity, savedSubnet: undefined }, signal);
  const keeping = { config, identity, own, fallback: undefined, degraded: undefined, ...told };
  const joined = (await open()).keep(keeping);
  expect(told.onCurrent).not.toHaveBeenCalled();
  await joined.listed(signal);
  expect(told.onCurrent.mock.calls).toEqual([[true]]);
  expect(told.onConfig.mock.calls).toEqual([[JSON_TEXT]]);
  joined.publish({ publicIp: ip('10.1.1.2') });
  expect(joined.state()).toMatchObject({ isCurrent: true, peers: [], publicIp: ip('10.1.1.2') });
  expect(joined.state().lease).toMatchObject({ remainingSeconds: undefined, ownKey: 'written' });

  const stopped = (await open()).keep(keeping);
  await stopped.stop();
  await stopped.listed(signal);
  expect(told.onCurrent).toHaveBeenCalledTimes(1);
});
