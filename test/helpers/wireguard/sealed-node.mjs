// A node's WireGuard backend by itself, without etcd and a daemon: settings as JSON in the first argument. Told by messages
// what changes of peers, it answers each with one; without its parent it ends.

import { settingsOf } from '../../../dist/backend/kinds.js';
import { OFFLOADS } from '../../../dist/backend/packet-path/tables/offloads.js';
import { optionsOf } from '../../../dist/backend/wireguard/options.js';
import { STANDARD_TIMING } from '../../../dist/backend/wireguard/protocol/timing.js';
import { openWireguardBackend } from '../../../dist/backend/wireguard/wireguard-backend.js';
import { parseCommonConfig } from '../../../dist/core/network-config.js';
import { openNetlink } from '../../../dist/system/netlink.js';
import { selectUnderlay } from '../../../dist/system/underlay.js';

const { stateDir, options, own, isPlain, timing, clockBehindMs } = JSON.parse(process.argv[2]);
const clock = Date.now;
Date.now = () => clock() - clockBehindMs;
const log = Object.fromEntries(
  ['debug', 'info', 'warn', 'error'].map((level) => [
    level,
    (fields, message) => process.send?.({ log: { level, message, ...fields } }),
  ]),
);
const config = parseCommonConfig(
  JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: 'wireguard', ...options } }),
);
const settings = settingsOf(config);
const netlink = openNetlink();
const underlay = await selectUnderlay(netlink, { iface: ['eth0'], ifaceRegex: [], canReach: undefined });
const host = {
  config,
  netlink,
  nodeId: 'node 1',
  stateDir,
  publicIp: underlay.address,
  interface: underlay.name,
  localAddress: underlay.address,
  mtu: settings.mtu ?? underlay.mtu - settings.overheadBytes,
  portMapped: false,
  checkSource: true,
  wireguardImplementation: 'user',
  cipher: isPlain ? 'portable' : 'auto',
  offloads: new Set(isPlain ? [] : OFFLOADS),
  log,
};
const backend = await openWireguardBackend(host, optionsOf(config), undefined, { ...STANDARD_TIMING, ...timing });
backend.failure.catch((error) => {
  process.send({ failure: error.message });
  process.exit(1);
});

const answers = {
  apply: (changes) => backend.apply(changes),
  start: () => backend.start(own),
  rotate: async () => {
    await backend.rotateKey();
    return backend.leaseData();
  },
  report: (subnet) => ({
    counters: backend.packetPath.counters(),
    session: backend.sessions.of(subnet) ?? null,
    cipher: backend.sessions.cipher(),
    problem: backend.problemOf(subnet) ?? null,
  }),
  stop: async () => {
    await backend.stop(true);
    process.disconnect();
  },
};
process.on('message', async ([name, argument]) => {
  const answer = await answers[name](argument);
  process.send?.({ answer: answer ?? null });
});
process.on('disconnect', () => process.exit());
process.send({ answer: backend.leaseData() });
