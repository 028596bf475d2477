import { messageOf } from '../../../core/errors.js';
import type { Lease } from '../../../core/lease.js';
import { formatSubnetKey, type Subnet } from '../../../core/subnet.js';
import { loadKey, replaceKey } from '../../../state/key-file.js';
import type { Backend, KernelTraffic, SessionsReport } from '../../backend.js';
import { createKernelBackend, type KernelLinks } from '../../kernel/kernel-backend.js';
import { type KernelPeer, routeEntry, type Wants } from '../../kernel/wanted.js';
import type { BackendHost } from '../../kind.js';
import { identityFileIn } from '../identity-file.js';
import { leaseDataOf, peerOf } from '../lease-data.js';
import type { WireguardOptions } from '../options.js';
import { DATA_OVERHEAD_BYTES } from '../protocol/messages.js';
import { STANDARD_TIMING } from '../protocol/timing.js';
import { createSessionKeeper, loadSessionMemory } from '../session-file.js';
import { type KernelDevice, openKernelDevice, WIREGUARD_DEVICE } from './device.js';
import { keepLastHandshake, type LastHandshake } from './last-handshake.js';
import { type Bytes, NO_BYTES, plus, sessionOf } from './observed.js';
import { createPeers, type Peers } from './peers.js';

/** How often counts are looked at, and whether somebody has changed a peer, of which the kernel tells nothing ... */
const LOOK_MS = 2000;
/** ... but where there are many peers no more than this part of the time. */
const MOST_LOOKING = 1 / 100;
/** A multiple of 16 is encrypted. */
const BLOCK_BYTES = 16;

/**
 * The kernel's WireGuard, told what to do. Packets, handshakes and timers are its own; sessions outlive this process.
 * @throws RudderError `device`, `interface`, `file`
 */
export async function openKernelImplementation(host: BackendHost, options: WireguardOptions): Promise<Backend> {
  const { netlink, config, stateDir, log } = host;
  const { port, presharedKey, keepaliveSeconds } = options;
  const { network } = config;
  let own = await loadKey(identityFileIn(stateDir), log);
  /** By subnet. */
  const known = new Map<string, KernelPeer['wireguard'] & Pick<KernelPeer, 'endpoint'>>();
  /** What peers with former keys have had, by subnet: as counts do that begin with the process, these never fall. */
  const former = new Map<string, Bytes>();
  const formerOf = (name: string) => former.get(name) ?? NO_BYTES;
  const peers = createPeers({
    wireguard: netlink.wireguard,
    presharedKey,
    keepaliveSeconds,
    isOurs: (found) => device.isAsItShouldBe(found),
    endpoints: () =>
      new Map([...known.values()].map(({ publicKey, endpoint, port }) => [publicKey, { address: endpoint, port }])),
    moment,
  });
  const device = await openKernelDevice({
    netlink,
    log,
    port,
    network,
    identity: own,
    mtu: host.mtu,
    underlay: host.interface,
    read: peers.readDevice,
  });
  const toPeer = (lease: Lease): KernelPeer | undefined => {
    const peer = peerOf(lease, port);
    if (peer === undefined) return undefined;
    const wireguard = { publicKey: peer.publicKey.toString('base64'), port: peer.port };
    return { subnet: lease.subnet, endpoint: lease.publicIp, wireguard };
  };
  const leaseData = () => leaseDataOf(own.publicKey, port, host);
  const links = linksOf(device, peers, leaseData);
  const wants = throughDevice(network, () => own.publicKey.toString('base64'));
  const backend = createKernelBackend(host, links, wants, toPeer);
  const last = keepLastHandshake(await loadSessionMemory(stateDir, log), createSessionKeeper(stateDir, log));
  const watch = keepLooking(async () => {
    await peers.look();
    last.follow(peers.all(), moment());
  });
  const observedOf = (subnet: Subnet) => {
    const peer = known.get(formatSubnetKey(subnet));
    return peer === undefined || backend.problemOf(subnet) !== undefined ? undefined : peers.observed(peer.publicKey);
  };

  return {
    ...backend,
    tunnel: { port, unbound: 'address' },
    async apply(changes) {
      for (const { type, lease } of changes) {
        const peer = type === 'removed' ? undefined : toPeer(lease);
        const name = formatSubnetKey(lease.subnet);
        const before = known.get(name)?.publicKey;
        if (before !== undefined && before !== peer?.wireguard?.publicKey) {
          former.set(name, plus(formerOf(name), peers.observed(before)?.total ?? NO_BYTES));
        }
        if (peer?.wireguard === undefined) known.delete(name);
        else known.set(name, { ...peer.wireguard, endpoint: peer.endpoint });
      }
      await backend.apply(changes);
    },
    kernelTraffic(subnet): KernelTraffic | undefined {
      const observed = observedOf(subnet);
      if (observed === undefined) return undefined;
      const { total, heardAt } = observed;
      const heardSecondsAgo = heardAt === undefined ? undefined : (moment().now - heardAt) / 1000;
      return { ...plus(formerOf(formatSubnetKey(subnet)), total), heardSecondsAgo, sizeOnTheWay };
    },
    takeUntold: peers.takeChanged,
    sessions: reportOf(last, observedOf, watch.intervalMs),
    async rotateKey() {
      own = await replaceKey(identityFileIn(stateDir));
      device.setIdentity(own);
      last.forget();
      log.warn({ publicKey: own.publicKey.toString('base64') }, 'the node has another WireGuard key');
      // The device, and whom nobody's key stands in the way of any more. It is the key from here on, so that the lease has to
      // say it: what cannot be done now is tried again by itself.
      await backend
        .repair()
        .catch((error: unknown) =>
          log.warn({ reason: messageOf(error) }, 'the WireGuard device cannot have the key yet: tried again'),
        );
    },
    async stop(removeDevice) {
      watch.stop();
      await last.stop();
      await backend.stop(removeDevice);
    },
  };
}

const moment = () => ({ now: performance.now(), today: Date.now() });

/** What a packet of so many bytes is as a datagram's payload. */
const sizeOnTheWay = (bytes: number) => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES + DATA_OVERHEAD_BYTES;

function linksOf(device: KernelDevice, peers: Peers, leaseData: KernelLinks['leaseData']): KernelLinks {
  return {
    device: WIREGUARD_DEVICE,
    leaves: ['wireguard devices', 'routes'],
    peers,
    leaseData,
    mtu: device.mtu,
    ways: () => [WIREGUARD_DEVICE],
    configure: device.configure,
    adapt: (change) => device.adapt(change.interface, change.mtu),
    ensure: device.ensure,
    remove: async (isNew) => {
      if (device.isNew || !isNew) await device.remove();
    },
  };
}

/** Of each peer its key and whose packets are its own; of ourselves one route, of all the Network. */
function throughDevice(network: Subnet, ownKey: () => string): Wants {
  return {
    direct: false,
    asksHop: () => false,
    ofPeer({ subnet, endpoint, wireguard }) {
      if (wireguard === undefined) return { problem: 'its lease has no PublicKey, expected a key of WireGuard' };
      const { publicKey, port } = wireguard;
      if (publicKey === ownKey()) {
        return { problem: "its PublicKey is this node's own: one of them needs another, `rudder keys rotate`" };
      }
      return [
        { kind: 'peer', publicKey, endpoint: { address: endpoint, port }, isOurs: true },
        { kind: 'allowed', subnet, publicKey },
      ];
    },
    // From an address of our own subnet, which is all that peers take from us.
    ofSelf: (own, { tunnel }) => [routeEntry(network, { index: tunnel, source: own.address })],
  };
}

function reportOf(
  last: LastHandshake,
  observedOf: (subnet: Subnet) => ReturnType<Peers['observed']>,
  lookMs: () => number,
): SessionsReport {
  return {
    timing: STANDARD_TIMING,
    cipher: () => 'kernel',
    clockBehindSeconds: () => last.behindSeconds(moment().today),
    of(subnet) {
      const observed = observedOf(subnet);
      return observed && sessionOf(observed, moment(), lookMs());
    },
  };
}

function keepLooking(lookAll: () => Promise<void>): { intervalMs(): number; stop(): void } {
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;
  let intervalMs = LOOK_MS;
  const again = () => {
    if (isStopped) return;
    timer = setTimeout(look, intervalMs);
    timer.unref();
  };
  async function look(): Promise<void> {
    const began = performance.now();
    // One that is gone is told by the kernel, and what fails now is looked at again.
    await lookAll().catch(() => undefined);
    intervalMs = Math.max(LOOK_MS, (performance.now() - began) / MOST_LOOKING);
    again();
  }
  again();
  return {
    intervalMs: () => intervalMs,
    stop() {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}
