import type { LeaseChange } from '../../core/lease-set.js';
import { loadKey, replaceKey } from '../../state/key-file.js';
import { useCipher } from '../../system/cipher.js';
import { CIPHERS, native } from '../../system/native.js';
import type { Backend, SessionReport } from '../backend.js';
import type { BackendHost } from '../kind.js';
import { createPeerRoutes } from '../packet-path/peer-tables.js';
import { nowMs } from '../packet-path/tables/clock.js';
import { createMembers } from '../packet-path/tables/members.js';
import { sharedInts } from '../packet-path/tables/memory.js';
import { createPeerCounters, readPeer } from '../packet-path/tables/peer-counters.js';
import { createSelves } from '../packet-path/tables/peers.js';
import { createRouteTable, entriesOf } from '../packet-path/tables/routes.js';
import { openTunBackend, type Tunnel } from '../packet-path/tun-backend.js';
import { startHandshakeDriver } from './handshake-driver.js';
import { identityFileIn } from './identity-file.js';
import { leaseDataOf } from './lease-data.js';
import type { WireguardOptions } from './options.js';
import { createPeerLines } from './peer-lines.js';
import { mac1KeyOf } from './protocol/cookie.js';
import type { Identity } from './protocol/keys.js';
import { STANDARD_TIMING, type Timing } from './protocol/timing.js';
import { loadSessionMemory, type SessionMemory } from './session-file.js';
import { createSessionTable } from './sessions/session-table.js';

/** Numbers of peers are of 16 bits in an index. */
const MOST_PEERS = 65_535 - 1;

/**
 * @param freePort takes the port from who has it, once all else that can fail has been tried
 * @throws RudderError `device`, `socket` or `file`
 */
export async function openWireguardBackend(
  host: BackendHost,
  options: WireguardOptions,
  freePort: () => Promise<void> = async () => undefined,
  timing: Timing = STANDARD_TIMING,
): Promise<Backend> {
  const { stateDir, log } = host;
  useCipher(host.cipher);
  const own = await loadKey(identityFileIn(stateDir), log);
  const memory = await loadSessionMemory(stateDir, log);
  await freePort();
  return openTunBackend({ ...host, port: options.port }, (socket) =>
    openTunnel(host, options, timing, own, memory, socket),
  );
}

function openTunnel(
  host: BackendHost,
  options: WireguardOptions,
  timing: Timing,
  first: Identity,
  memory: SessionMemory,
  socket: () => number,
): Tunnel {
  const { config, stateDir, log } = host;
  let own = first;
  let mtu = host.mtu;
  const routes = createRouteTable(config, sharedInts);
  // Twice as many leases as there are subnets of our length, if there are some of every length.
  const most = Math.min(2 * routes.nextHops.length, MOST_PEERS);
  const table = createSessionTable(most);
  const tables = {
    routes,
    // A packet is of the peer whose key has sealed it, and of no address.
    peers: createSelves(most, sharedInts),
    members: createMembers(0, sharedInts),
    portMapped: createMembers(0, sharedInts),
    counters: createPeerCounters(routes, sharedInts),
    sealed: table.memory,
  };
  const driver = startHandshakeDriver({
    own,
    table,
    timing,
    stateDir,
    memory,
    send: (message, { address, port }) => sendQuietly(socket(), address, port, message),
    log,
  });
  const lines = createPeerLines({
    handshakes: driver.handshakes,
    setEndpoint: table.setEndpoint,
    ownKey: () => own.publicKey,
    presharedKey: options.presharedKey,
    listenPort: options.port,
    keepaliveMs: options.keepaliveSeconds * 1000,
  });
  const follow = createPeerRoutes(config, routes, lines);
  /** Those of the last run, by public key, until they are peers of this one. */
  const former = new Set(memory.peers);

  function configure(): void {
    const macKey = mac1KeyOf(own.publicKey);
    table.configure({ mtu, rejectAfterMs: timing.rejectAfterMs, macKey });
  }

  /** Whom nobody's key stands in the way of any more. */
  function admitFreed(): void {
    for (let freed = lines.freed(); freed.length > 0; freed = lines.freed()) admit(freed.slice(0, 1));
  }

  function admit(changes: readonly LeaseChange[]): void {
    follow(changes);
    for (const { lease } of changes) {
      const line = lines.lineOf(lease.subnet);
      if (line !== undefined && former.delete(String(lease.backend.data.PublicKey))) driver.greet([line]);
    }
  }

  return {
    tables,
    direct: undefined,
    apply(changes) {
      admit(changes);
      admitFreed();
    },
    traffic: (subnet) => readPeer(tables.counters, entriesOf(routes, subnet), nowMs()),
    problemOf: (subnet) => lines.problemOf(subnet),
    leaseData: () => leaseDataOf(own.publicKey, options.port, host),
    counters: () => driver.counters(),
    sessions: {
      timing,
      cipher: () => CIPHERS[native.cipher()],
      clockBehindSeconds: driver.clockBehindSeconds,
      of(subnet): SessionReport | undefined {
        const line = lines.lineOf(subnet);
        const session = line === undefined ? undefined : driver.handshakes.sessionOf(line);
        return session && { ...session, endpoint: table.endpoint(line!) };
      },
      begin(subnet) {
        const line = lines.lineOf(subnet);
        if (line !== undefined) driver.handshakes.ask(line);
      },
    },
    async rotateKey() {
      own = await replaceKey(identityFileIn(stateDir));
      configure();
      driver.setIdentity(own);
      admitFreed();
      log.warn({ publicKey: own.publicKey.toString('base64') }, 'the node has another WireGuard key');
    },
    starting(next) {
      mtu = next;
      configure();
    },
    started(path) {
      table.onWake(path.wake);
      // For what was asked for while there was none.
      path.wake();
    },
    stop: driver.stop,
  };
}

/** What is lost is sent again by the protocol, and a peer that cannot be reached is no reason for more. */
function sendQuietly(socket: number, address: number, port: number, message: Buffer): void {
  try {
    native.sendDatagram(socket, address, port, message);
  } catch {
    // EHOSTUNREACH, ENETDOWN and their like: the next try is 5 s away.
  }
}
