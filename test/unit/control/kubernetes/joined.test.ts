import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { KubernetesApi } from '../../../../src/control/kubernetes/api.js';
import { keepJoined } from '../../../../src/control/kubernetes/joined.js';
import { TIMING } from '../../../../src/control/kubernetes/options.js';
import { formatIpv4 } from '../../../../src/core/ipv4.js';
import { SILENT } from '../../../../src/core/logger.js';
import { parseCommonConfig } from '../../../../src/core/network-config.js';
import { flannelNode, IDENTITY, PREFIX } from '../../../helpers/kubernetes.js';

const COUNT = 2000;

it('a list of thousands is judged in turns, between which others have theirs', async () => {
  const items = Array.from({ length: COUNT }, (_, i) => ({
    metadata: { name: `peer-${i}`, uid: `${i}`, resourceVersion: '1', annotations: flannelNode('192.0.2.2') },
    spec: { podCIDR: `${formatIpv4(0x0a000000 + (i + 1) * 256)}/24` },
  }));
  let turns = 0;
  let isOver = false;
  const count = async () => {
    for (; !isOver; turns++) await setImmediate();
  };
  let answeredAt = 0;
  const api: Pick<KubernetesApi, 'server' | 'ask' | 'open'> = {
    server: () => 'https://api',
    async ask() {
      answeredAt = turns;
      return { items, metadata: { resourceVersion: '1' } };
    },
    open: () => new Promise(() => undefined),
  };
  const counting = count();
  const told: { peers: number; turns: number }[] = [];
  const joined = keepJoined({
    api: api as KubernetesApi,
    name: 'n1',
    prefix: PREFIX,
    netConfigPath: '/absent/net-conf.json',
    setNetworkUnavailable: false,
    timing: TIMING,
    joinedAs: undefined,
    log: SILENT,
    config: parseCommonConfig('{"Network":"10.0.0.0/8","SubnetLen":24}'),
    identity: IDENTITY,
    own: { subnet: { address: 0x0affff00, prefixLength: 24 }, holding: { node: 'n1', uid: 'x' }, created: false },
    fallback: undefined,
    degraded: undefined,
    problemOf: () => undefined,
    onCurrent: () => undefined,
    onPeers: (changes) => void told.push({ peers: changes.length, turns: turns - answeredAt }),
    onConfig: () => undefined,
  });
  await joined.listed(new AbortController().signal);
  isOver = true;
  await counting;
  await joined.stop();
  expect(told).toEqual([{ peers: COUNT, turns: expect.any(Number) }]);
  expect(told[0].turns).toBeGreaterThanOrEqual(COUNT / 500);
});
