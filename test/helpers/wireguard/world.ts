import { createHash } from 'node:crypto';
import { createHandshakes, type Handshakes } from '../../../src/backend/wireguard/protocol/handshakes.js';
import {
  generateIdentity,
  type Identity,
  identityOf,
  KEY_BYTES,
} from '../../../src/backend/wireguard/protocol/keys.js';
import { DATA } from '../../../src/backend/wireguard/protocol/messages.js';
import type { Refusal } from '../../../src/backend/wireguard/protocol/party.js';
import type { Endpoint } from '../../../src/backend/wireguard/protocol/sessions.js';
import { createTimestamps } from '../../../src/backend/wireguard/protocol/tai64n.js';
import { STANDARD_TIMING, type Timing } from '../../../src/backend/wireguard/protocol/timing.js';
import { createReferenceWire, type Drop } from './reference-wire.js';

/** Nodes on one simulated network and clock. What happens at one moment happens in the order of its cause. */

export interface Datagram {
  readonly bytes: Buffer;
  readonly from: Endpoint;
  readonly to: Endpoint;
}

const TICK_MS = 250;
const DELAY_MS = 1;
const START_MS = 1_000_000;
const NO_PSK = Buffer.alloc(32);

export function createWorld({ timing = STANDARD_TIMING }: { timing?: Timing } = {}) {
  let now = START_MS;
  const queue: { at: number; run: () => void }[] = [];
  const nodes: Node[] = [];
  let made = 0;
  const sent: Datagram[] = [];
  /** False: it is lost. */
  let passes: (datagram: Datagram) => boolean = () => true;

  function carry(datagram: Datagram): void {
    sent.push(datagram);
    if (!passes(datagram)) return;
    queue.push({ at: now + DELAY_MS, run: () => inject(datagram) });
  }

  function inject({ bytes, from, to }: Datagram): void {
    nodes.find((node) => isSame(node.at, to))?.receive(bytes, from);
  }

  function run(ms: number): void {
    const end = now + ms;
    for (;;) {
      queue.sort((a, b) => a.at - b.at);
      const next = queue[0];
      if (next === undefined || next.at > end) break;
      queue.shift();
      now = next.at;
      next.run();
    }
    now = end;
  }

  /** Ticks do not come at the same moment on all nodes. */
  function every(ms: number, offset: number, what: () => void): () => void {
    let isOn = true;
    const at = (when: number): void => {
      queue.push({
        at: when,
        run() {
          if (!isOn) return;
          what();
          at(when + ms);
        },
      });
    };
    at(now + offset);
    return () => {
      isOn = false;
    };
  }

  function addNode(name: string, { identity = generateIdentity(), wallMs = () => now, kept }: NodeOptions = {}): Node {
    const refusals: Refusal[] = [];
    const drops: Drop[] = [];
    const received: string[] = [];
    const lines = new Map<string, number>();
    const node: Node = {
      name,
      identity,
      at: { address: ++made, port: 51820 },
      refusals,
      drops,
      received,
      isLoaded: false,
      knows(other, { psk = NO_PSK, keepaliveMs = 0, endpoint = other.at } = {}) {
        const peer = {
          publicKey: other.identity.publicKey,
          presharedKey: psk,
          endpoint: endpoint === 'unknown' ? undefined : endpoint,
          keepaliveMs,
        };
        lines.set(other.name, handshakes.addPeer(peer));
      },
      forget(other) {
        handshakes.removePeer(lines.get(other.name)!);
        lines.delete(other.name);
      },
      ask: (other) => handshakes.ask(lines.get(other.name)!),
      say: (other, text) => wire.sendPacket(lines.get(other.name)!, Buffer.from(text)),
      hasSession: (other) => wire.hasSession(lines.get(other.name)!),
      sessionOf: (other) => handshakes.sessionOf(lines.get(other.name)!),
      endpointOf: (other) => wire.sessions.endpoint(lines.get(other.name)!),
      receive(bytes, from) {
        if (bytes.length >= 4 && bytes.readUInt32LE(0) === DATA) {
          const drop = wire.receive(bytes, from);
          if (drop !== undefined) drops.push(drop);
        } else handshakes.receive(bytes, from, node.isLoaded);
      },
      stop() {
        stopTicks();
        nodes.splice(nodes.indexOf(node), 1);
      },
    };
    const send = (bytes: Buffer, to: Endpoint) => carry({ bytes: Buffer.from(bytes), from: node.at, to });
    const wire = createReferenceWire({
      timing,
      now: () => now,
      send,
      deliver: (packet) => received.push(packet.toString().replace(/\0+$/, '')),
      news: { wanted: (line) => handshakes.wanted(line), confirmed: (index) => handshakes.confirmed(index) },
    });
    const random = pseudoRandom(`${name} ${made}`);
    const handshakes: Handshakes = createHandshakes({
      own: identity,
      sessions: wire.sessions,
      timing,
      timestamps: createTimestamps(wallMs, kept),
      now: () => now,
      random,
      ephemeral: () => identityOf(random(KEY_BYTES)),
      send,
      refused: (why) => refusals.push(why),
    });
    nodes.push(node);
    const stopTicks = every(TICK_MS, 10 + ((made * 37) % TICK_MS), handshakes.tick);
    return node;
  }

  return {
    addNode,
    run,
    every,
    inject,
    sent,
    now: () => now,
    lose: (predicate: (datagram: Datagram) => boolean) => {
      passes = (datagram) => !predicate(datagram);
    },
    sentOfType: (type: number) => sent.filter(({ bytes }) => bytes[0] === type),
  };
}

interface NodeOptions {
  readonly identity?: Identity;
  readonly wallMs?: () => number;
  readonly kept?: number;
}

export interface Node {
  readonly name: string;
  readonly identity: Identity;
  /** Where it is: it may move. */
  at: Endpoint;
  readonly refusals: Refusal[];
  readonly drops: Drop[];
  /** What came, as text. */
  readonly received: string[];
  isLoaded: boolean;
  knows(other: Node, options?: { psk?: Buffer; keepaliveMs?: number; endpoint?: Endpoint | 'unknown' }): void;
  forget(other: Node): void;
  /** For a session, without a packet. */
  ask(other: Node): void;
  say(other: Node, text: string): void;
  hasSession(other: Node): boolean;
  sessionOf(other: Node): ReturnType<Handshakes['sessionOf']>;
  endpointOf(other: Node): Endpoint | undefined;
  receive(bytes: Buffer, from: Endpoint): void;
  stop(): void;
}

const isSame = (a: Endpoint, b: Endpoint) => a.address === b.address && a.port === b.port;

/** The same in each run. */
function pseudoRandom(seed: string) {
  let count = 0;
  return (size: number) =>
    Buffer.concat(
      Array.from({ length: Math.ceil(size / 32) }, () => createHash('sha256').update(`${seed} ${count++}`).digest()),
    ).subarray(0, size);
}
