import { randomBytes } from 'node:crypto';
import { createHandshakes } from '../../../src/backend/wireguard/protocol/handshakes.js';
import { generateIdentity, type Identity } from '../../../src/backend/wireguard/protocol/keys.js';
import { DATA } from '../../../src/backend/wireguard/protocol/messages.js';
import type { Refusal } from '../../../src/backend/wireguard/protocol/party.js';
import { createTimestamps } from '../../../src/backend/wireguard/protocol/tai64n.js';
import { STANDARD_TIMING, type Timing } from '../../../src/backend/wireguard/protocol/timing.js';
import { parseIpv4 } from '../../../src/core/address-text.js';
import { formatIpv4 } from '../../../src/core/ipv4.js';
import { checksumOf, ICMP, ipv4Packet, writeUint16 } from '../packets.js';
import type { Relay } from './go-peer.js';
import { createReferenceWire, type Drop } from './reference-wire.js';

/** A host of one address, 10.240.1.1, that answers pings and sends them: the protocol as it is, on a plain socket. */

const OURS = parseIpv4('10.240.1.1')!;
const THEIRS = parseIpv4('10.240.2.1')!;
const TICK_MS = 50;
const [ECHO, ECHO_REPLY] = [8, 0];

export interface PureOptions {
  readonly own: Identity;
  readonly peerKey: Buffer;
  readonly presharedKey?: Buffer;
  readonly timing?: Partial<Timing>;
  readonly keepaliveMs?: number;
}

export type PureNode = ReturnType<typeof startPureNode>;

export function startPureNode(relay: Relay, options: PureOptions) {
  const timing = { ...STANDARD_TIMING, ...options.timing };
  const now = () => performance.now();
  const refusals: Refusal[] = [];
  const drops: Drop[] = [];
  const answered = new Set<number>();
  let handshakesSent = 0;
  let isLoaded = false;
  const send = (bytes: Buffer, to: { address: number; port: number }) => {
    if (bytes[0] !== DATA) handshakesSent++;
    relay.send(bytes, formatIpv4(to.address), to.port);
  };
  const wire = createReferenceWire({
    timing,
    now,
    send,
    deliver: take,
    news: { wanted: (line) => handshakes.wanted(line), confirmed: (index) => handshakes.confirmed(index) },
  });
  const handshakes = createHandshakes({
    own: options.own,
    sessions: wire.sessions,
    timing,
    timestamps: createTimestamps(Date.now, undefined),
    now,
    random: randomBytes,
    ephemeral: generateIdentity,
    send,
    refused: (why) => refusals.push(why),
  });
  const line = handshakes.addPeer({
    publicKey: options.peerKey,
    presharedKey: options.presharedKey ?? Buffer.alloc(32),
    endpoint: { address: parseIpv4('10.1.1.2')!, port: 51820 },
    keepaliveMs: options.keepaliveMs ?? 0,
  });
  relay.onMessage((bytes, address, port) => {
    const from = { address: parseIpv4(address)!, port };
    if (bytes[0] !== DATA) return handshakes.receive(bytes, from, isLoaded);
    const drop = wire.receive(bytes, from);
    if (drop !== undefined) drops.push(drop);
  });
  const ticks = setInterval(handshakes.tick, TICK_MS);

  /** A packet may have grown by padding. */
  function take(padded: Buffer): void {
    const packet = padded.subarray(0, padded.readUInt16BE(2));
    if (packet[9] !== ICMP) return;
    if (packet[20] === ECHO_REPLY) answered.add(packet.readUInt16BE(26));
    else if (packet[20] === ECHO) say(icmp(ECHO_REPLY, packet.subarray(24)));
  }

  const say = (packet: Buffer) => wire.sendPacket(line, packet);

  return {
    refusals,
    drops,
    answered,
    ping(sequence: number, size = 56): void {
      const rest = randomBytes(4 + size);
      rest.writeUInt16BE(sequence, 2);
      say(icmp(ECHO, rest));
    },
    setLoaded(value: boolean): void {
      isLoaded = value;
    },
    handshakesSent: () => handshakesSent,
    session: () => handshakes.sessionOf(line)!,
    endpoint: () => wire.sessions.endpoint(line)!,
    stop: () => clearInterval(ticks),
  };
}

/** @param rest identifier, sequence number and data */
function icmp(type: number, rest: Uint8Array): Buffer {
  const payload = Buffer.concat([Buffer.of(type, 0, 0, 0), rest]);
  writeUint16(payload, 2, checksumOf(payload, 0, payload.length));
  return Buffer.from(ipv4Packet({ source: OURS, destination: THEIRS, protocol: ICMP, payload }));
}
