import { randomBytes } from 'node:crypto';
import { formatSubnet } from '../../../core/subnet.js';
import type { Wireguard, WireguardDevice, WireguardPeer } from '../../../system/netlink.js';
import type { PeerTable } from '../../kernel/tables.js';
import type { AllowedEntry, Entry, PeerEntry } from '../../kernel/wanted.js';
import { KEY_BYTES } from '../protocol/keys.js';
import { STANDARD_TIMING } from '../protocol/timing.js';
import { type Moment, neverHeard, type Observed, observe } from './observed.js';

export interface PeersOptions {
  readonly wireguard: Wireguard;
  /** Zeros: none. */
  readonly presharedKey: Buffer;
  readonly keepaliveSeconds: number;
  /** Whether the device has this node's key and port. */
  readonly isOurs: (device: WireguardDevice) => boolean;
  /** Where peers are by their leases, by public key. */
  readonly endpoints: () => ReadonlyMap<string, PeerEntry['endpoint']>;
  readonly moment: () => Moment;
}

/**
 * The peers of the kernel's device: written as the others want them, and looked at, since the kernel tells nobody when it hears
 * a peer, or when somebody changes one.
 */
export interface Peers extends PeerTable {
  /** The device as it is; what is read of its peers is what the next read() says, unless something is written in between. */
  readDevice(index: number): Promise<WireguardDevice>;
  /** What is counted of each now, and whether they are as they were written. */
  look(): Promise<void>;
  /** Whether somebody was found to have changed them or the device, since this was last asked. */
  takeChanged(): boolean;
  observed(publicKey: string): Observed | undefined;
  /** By public key. */
  all(): Iterable<readonly [string, Observed]>;
}

type Named = readonly [publicKey: string, peer: WireguardPeer];

/** A device, and its peers as they are compared; keys are wiped. */
interface Contents {
  readonly device: WireguardDevice;
  readonly named: readonly Named[];
  readonly keys: Map<string, Held>;
  readonly subnets: Map<string, string>;
}

/** A peer as it was written, or as it was found. */
type Held = Pick<PeerEntry, 'endpoint' | 'isOurs'>;

export function createPeers(options: PeersOptions): Peers {
  const { wireguard, presharedKey, keepaliveSeconds, isOurs, endpoints, moment } = options;
  let held = new Map<string, Held>();
  /** Public keys by subnet. */
  let owners = new Map<string, string>();
  let observed = new Map<string, Observed>();
  let tunnel: number | undefined;
  let hasRead = false;
  /** What was read for the device, and nobody has asked for yet. */
  let fresh: { readonly index: number; readonly writes: number; readonly contents: Contents } | undefined;
  let writes = 0;
  let isChanged = false;

  async function readDevice(index: number): Promise<Contents> {
    const device = await wireguard.read(index);
    const at = moment();
    // Each name once: there are thousands of peers, and a look every few seconds.
    const named = device.peers.map((peer): Named => [peer.publicKey.toString('base64'), peer]);
    observed = new Map(named.map(([name, peer]) => [name, observe(observed.get(name), peer, at)] as const));
    return contentsOf(device, named);
  }

  /** Of an earlier run only those who have a session still: another may have another lease by now, and not know of us. */
  const isHeard = ({ handshakeAt }: WireguardPeer) =>
    handshakeAt !== undefined && (hasRead || moment().today - handshakeAt < STANDARD_TIMING.rejectAfterMs);

  /** @param written where each was written to be */
  function found([name, peer]: Named, written: ReadonlyMap<string, PeerEntry['endpoint']>): Held {
    // Once it was heard, it may be elsewhere than where it was written to be, and is there rightly.
    const endpoint = (isHeard(peer) ? written.get(name) : undefined) ?? peer.endpoint;
    const isAsOurs = peer.keepaliveSeconds === keepaliveSeconds && isSameKey(peer.presharedKey, presharedKey);
    return { endpoint, isOurs: isAsOurs };
  }

  function contentsOf(device: WireguardDevice, named: readonly Named[]): Contents {
    // An earlier run has written what leases say, as far as anybody knows.
    const written = hasRead ? new Map([...held].map(([key, { endpoint }]) => [key, endpoint])) : endpoints();
    const keys = new Map(named.map((one) => [one[0], found(one, written)] as const));
    const subnets = named.flatMap(([name, { allowed }]) =>
      allowed.map((subnet) => [formatSubnet(subnet), name] as const),
    );
    for (const [, { presharedKey: secret }] of named) secret.fill(0);
    return { device, named, keys, subnets: new Map(subnets) };
  }

  const change = (index: number, peers: Parameters<Wireguard['change']>[1]['peers']) => {
    writes++;
    return wireguard.change(index, { peers });
  };

  return {
    async readDevice(index) {
      const contents = await readDevice(index);
      fresh = { index, writes, contents };
      return contents.device;
    },
    async read(index) {
      tunnel = index;
      const isFresh = fresh?.index === index && fresh.writes === writes;
      const { named, keys, subnets } = isFresh ? fresh!.contents : await readDevice(index);
      fresh = undefined;
      writes++;
      held = keys;
      hasRead = true;
      owners = subnets;
      isChanged = false;
      const entries: Entry[] = [...keys].map(([publicKey, peer]) => ({ kind: 'peer', publicKey, ...peer }));
      for (const [publicKey, { allowed }] of named) {
        for (const subnet of allowed) entries.push({ kind: 'allowed', subnet, publicKey });
      }
      return entries;
    },
    async write(index, entry) {
      const publicKey = bytesOf(entry);
      if (entry.kind === 'peer') {
        const { endpoint } = entry;
        await change(index, [{ publicKey, presharedKey, endpoint, keepaliveSeconds }]);
        held.set(entry.publicKey, { endpoint, isOurs: true });
        if (!observed.has(entry.publicKey)) observed.set(entry.publicKey, neverHeard(endpoint));
      } else {
        await change(index, [{ publicKey, allowed: [entry.subnet], is: 'only if there' }]);
        owners.set(formatSubnet(entry.subnet), entry.publicKey);
      }
    },
    async erase(index, entry) {
      if (entry.kind === 'peer') {
        await change(index, [{ publicKey: bytesOf(entry), is: 'removed' }]);
        held.delete(entry.publicKey);
        observed.delete(entry.publicKey);
        for (const [subnet, owner] of owners) if (owner === entry.publicKey) owners.delete(subnet);
        return;
      }
      const name = formatSubnet(entry.subnet);
      if (owners.get(name) !== entry.publicKey) return;
      // Not every kernel takes one subnet from a peer. All give it to another peer, here to one that is gone at once.
      const nobody = randomBytes(KEY_BYTES);
      await change(index, [
        { publicKey: nobody, allowed: [entry.subnet] },
        { publicKey: nobody, is: 'removed' },
      ]);
      owners.delete(name);
    },
    async look() {
      if (tunnel === undefined) return;
      const before = writes;
      const { device, keys, subnets } = await readDevice(tunnel);
      // What was written meanwhile may be in it or not.
      if (before === writes && !(isOurs(device) && isSameHeld(keys, held) && isSameMap(subnets, owners)))
        isChanged = true;
    },
    takeChanged() {
      const was = isChanged;
      isChanged = false;
      return was;
    },
    observed: (publicKey) => observed.get(publicKey),
    all: () => observed,
  };
}

const bytesOf = ({ publicKey }: PeerEntry | AllowedEntry) => Buffer.from(publicKey, 'base64');

/** A kernel that has none says nothing, or zeros. */
const isSameKey = (one: Buffer, other: Buffer) =>
  one.length === 0 ? other.every((byte) => byte === 0) : one.equals(other);

const isSameMap = (a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>) =>
  a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);

const isSameHeld = (a: ReadonlyMap<string, Held>, b: ReadonlyMap<string, Held>) =>
  a.size === b.size &&
  [...a].every(([key, { endpoint, isOurs }]) => {
    const other = b.get(key);
    const isSameEnd = endpoint?.address === other?.endpoint?.address && endpoint?.port === other?.endpoint?.port;
    return other?.isOurs === isOurs && isSameEnd;
  });
