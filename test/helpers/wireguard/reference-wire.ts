import { createMessage, DATA, DATA_HEADER_BYTES } from '../../../src/backend/wireguard/protocol/messages.js';
import { open, seal } from '../../../src/backend/wireguard/protocol/primitives.js';
import type { Endpoint, NewKey, Sessions } from '../../../src/backend/wireguard/protocol/sessions.js';
import type { Timing } from '../../../src/backend/wireguard/protocol/timing.js';
import { createReplayWindow } from './replay-window.js';

/** The packet path as the protocol sees it, one packet at a time and by OpenSSL's cipher: right, and slow. */

const NOTHING = Buffer.alloc(0);
const MOST_STAGED = 128;

interface Key extends NewKey {
  readonly accepts: (counter: bigint) => boolean;
  counter: bigint;
  hasReceived: boolean;
}

interface Line {
  endpoint: Endpoint | undefined;
  slots: Map<number, Key | undefined>;
  current: number | undefined;
  staged: Buffer[];
  lastSent: number;
  lastReceived: number;
  unansweredSince: number;
  owedSince: number;
}

export interface WireOptions {
  readonly timing: Timing;
  readonly now: () => number;
  readonly send: (datagram: Buffer, to: Endpoint) => void;
  readonly deliver: (packet: Buffer, line: number) => void;
  readonly news: { wanted(line: number): void; confirmed(index: number): void };
}

export type Drop = 'no session' | 'expired' | 'bad tag' | 'replay' | 'malformed';

export function createReferenceWire({ timing, now, send, deliver, news }: WireOptions) {
  const lines = new Map<number, Line>();
  let lastLine = 0;
  let generation = 0;

  const lineOf = (index: number) => lines.get((index >>> 2) & 0xffff);

  const sessions: Sessions = {
    addPeer() {
      lines.set(++lastLine, {
        endpoint: undefined,
        slots: new Map(),
        current: undefined,
        staged: [],
        lastSent: 0,
        lastReceived: 0,
        unansweredSince: 0,
        owedSince: 0,
      });
      return lastLine;
    },
    removePeer: (line) => void lines.delete(line),
    endpoint: (line) => lines.get(line)!.endpoint,
    setEndpoint(line, endpoint) {
      lines.get(line)!.endpoint = endpoint;
    },
    reserve(line) {
      const { slots } = lines.get(line)!;
      const used = new Set([...slots.keys()].map((index) => index & 3));
      const slot = [0, 1, 2, 3].find((candidate) => !used.has(candidate));
      if (slot === undefined) throw new Error('a peer has four places for keys');
      generation = (generation % 0x3fff) + 1;
      const index = (generation << 18) | (line << 2) | slot;
      slots.set(index, undefined);
      return index;
    },
    release(index) {
      const line = lineOf(index)!;
      line.slots.delete(index);
      if (line.current === index) line.current = undefined;
    },
    install(index, key) {
      const line = lineOf(index)!;
      if (!line.slots.has(index)) throw new Error('installed where nothing was reserved');
      const copied = { ...key, sendKey: Buffer.from(key.sendKey), receiveKey: Buffer.from(key.receiveKey) };
      line.slots.set(index, { ...copied, accepts: createReplayWindow(), counter: 0n, hasReceived: false });
      if (key.role === 'current') makeCurrent(line, index);
    },
    setRole(index, role) {
      const line = lineOf(index)!;
      if (role === 'current') makeCurrent(line, index);
      else if (line.current === index) line.current = undefined;
    },
    activity: (line) => lines.get(line)!,
    sendKeepalive(line) {
      const state = lines.get(line)!;
      if (state.staged.length === 0) sealed(state, NOTHING);
      else flush(state);
    },
    dropStaged(line) {
      lines.get(line)!.staged = [];
    },
  };

  function makeCurrent(line: Line, index: number): void {
    line.current = index;
    flush(line);
  }

  function flush(line: Line): void {
    for (const packet of line.staged.splice(0)) sealed(line, packet);
  }

  const isDead = (key: Key) => now() - key.bornAt >= timing.rejectAfterMs;

  function keyToSend(line: Line): Key | undefined {
    const key = line.current === undefined ? undefined : line.slots.get(line.current);
    return key === undefined || isDead(key) ? undefined : key;
  }

  function sealed(line: Line, packet: Buffer): boolean {
    const key = keyToSend(line);
    if (key === undefined || line.endpoint === undefined) return false;
    const padded = Buffer.alloc(Math.ceil(packet.length / 16) * 16);
    packet.copy(padded);
    const header = createMessage(DATA, DATA_HEADER_BYTES);
    header.writeInt32LE(key.remoteIndex, 4);
    header.writeBigUInt64LE(key.counter, 8);
    send(Buffer.concat([header, seal(key.sendKey, padded, NOTHING, nonceOf(key.counter++))]), line.endpoint);
    line.lastSent = now();
    line.owedSince = 0;
    if (packet.length > 0) line.unansweredSince ||= now();
    return true;
  }

  function sendPacket(line: number, packet: Buffer): void {
    const state = lines.get(line)!;
    if (sealed(state, packet)) return;
    if (state.staged.push(packet) > MOST_STAGED) state.staged.shift();
    news.wanted(line);
  }

  /** @returns why nothing came of it */
  function receive(datagram: Buffer, from: Endpoint): Drop | undefined {
    if (datagram.length < 32) return 'malformed';
    const index = datagram.readInt32LE(4);
    const line = lineOf(index);
    const key = line?.slots.get(index);
    if (line === undefined || key === undefined) return 'no session';
    if (isDead(key)) return 'expired';
    const counter = datagram.readBigUInt64LE(8);
    const packet = open(key.receiveKey, datagram.subarray(DATA_HEADER_BYTES), NOTHING, nonceOf(counter));
    if (packet === undefined) return 'bad tag';
    if (!key.accepts(counter)) return 'replay';
    line.endpoint = from;
    line.lastReceived = now();
    line.unansweredSince = 0;
    const isFirst = !key.hasReceived;
    key.hasReceived = true;
    if (isFirst && key.role === 'next') news.confirmed(index);
    if (packet.length === 0) return undefined;
    line.owedSince ||= now();
    deliver(packet, lastLineOf(line));
    return undefined;
  }

  const lastLineOf = (line: Line) => [...lines].find(([, other]) => other === line)![0];

  return { sessions, sendPacket, receive, hasSession: (line: number) => keyToSend(lines.get(line)!) !== undefined };
}

function nonceOf(counter: bigint): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64LE(counter, 4);
  return nonce;
}
