import { randomBytes } from 'node:crypto';
import { nowMs } from '../backend/packet-path/tables/clock.js';
import { HEADER_INTS, LINE_INTS, LINE_RECEIVED, LINE_SENT } from '../backend/packet-path/tables/session-layout.js';
import { now, sessionsOf } from '../backend/wireguard/handshake-driver.js';
import { createHandshakes, type Handshakes } from '../backend/wireguard/protocol/handshakes.js';
import { generateIdentity, type Identity } from '../backend/wireguard/protocol/keys.js';
import { response } from '../backend/wireguard/protocol/messages.js';
import type { Endpoint } from '../backend/wireguard/protocol/sessions.js';
import { createTimestamps } from '../backend/wireguard/protocol/tai64n.js';
import { STANDARD_TIMING } from '../backend/wireguard/protocol/timing.js';
import { createSessionTable, type SessionTable } from '../backend/wireguard/sessions/session-table.js';

/**
 * `npm run bench:handshakes`: what do sessions cost the main thread of a node, beside the packets in them? A node begins a
 * session with half of so many peers, the others begin one with it, and both once more; then its rules of time are looked at, while all are in use.
 */
const PEERS = Number(process.argv[2] ?? 1000);
const TICKS = 400;
const TICKS_A_SECOND = 4;
const NO_PSK = Buffer.alloc(32);
const HERE: Endpoint = { address: 1, port: 51820 };

/** By how much time has gone on, for what must not be done twice in a moment. */
let later = 0;

interface Side {
  readonly handshakes: Handshakes;
  readonly table: SessionTable;
  /** What it has said and nobody has heard yet. */
  readonly said: Buffer[];
}

function createSide(own: Identity, most: number): Side {
  const table = createSessionTable(most);
  const said: Buffer[] = [];
  const handshakes = createHandshakes({
    own,
    sessions: sessionsOf(table),
    timing: STANDARD_TIMING,
    timestamps: createTimestamps(Date.now, undefined),
    now: () => now() + later,
    random: randomBytes,
    ephemeral: generateIdentity,
    send: (message) => said.push(Buffer.from(message)),
    refused(why) {
      throw new Error(`a message of a handshake was refused: ${why}`);
    },
  });
  return { handshakes, table, said };
}

const know = (side: Side, other: Identity) =>
  side.handshakes.addPeer({ publicKey: other.publicKey, presharedKey: NO_PSK, endpoint: HERE, keepaliveMs: 0 });

/** CPU of this thread that the work takes, in microseconds. */
function cost(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

function hearAll(side: Side, from: Side): void {
  for (const message of from.said.splice(0)) side.handshakes.receive(message, HERE, false);
}

/** To each one what was said to it, in this order. */
function deliver(from: Side, to: readonly Side[]): void {
  for (const [i, message] of from.said.splice(0).entries()) to[i].handshakes.receive(message, HERE, false);
}

/** @returns microseconds of each */
function measure(): { initiator: number; responder: number; tick: number } {
  const own = generateIdentity();
  const node = createSide(own, PEERS);
  const identities = Array.from({ length: PEERS }, () => generateIdentity());
  const peers = identities.map((identity) => createSide(identity, 1));
  const lines = identities.map((identity) => know(node, identity));
  for (const peer of peers) know(peer, own);
  const half = PEERS >> 1;
  const [called, calling] = [peers.slice(0, half), peers.slice(half)];

  const shake = () => {
    let initiator = cost(() => {
      for (const line of lines.slice(0, half)) node.handshakes.wanted(line);
    });
    deliver(node, called);
    initiator += cost(() => {
      for (const peer of called) hearAll(node, peer);
    });
    for (const peer of calling) peer.handshakes.wanted(1);
    const responder = cost(() => {
      for (const peer of calling) hearAll(node, peer);
      // As the first packets by the new keys do: each response names one.
      for (const message of node.said) node.handshakes.confirmed(message.readInt32LE(response.sender));
    });
    deliver(node, calling);
    return { initiator: initiator / half, responder: responder / (PEERS - half) };
  };
  // What is computed once for each peer is computed by then: a key that is changed is measured.
  shake();
  later += 2 * STANDARD_TIMING.rekeyTimeoutMs;
  const handshake = shake();

  const { sessions } = node.table.memory;
  const tick = cost(() => {
    for (let i = 0; i < TICKS; i++) {
      const stamp = nowMs();
      for (const line of lines) {
        sessions[HEADER_INTS + line * LINE_INTS + LINE_SENT] = stamp;
        sessions[HEADER_INTS + line * LINE_INTS + LINE_RECEIVED] = stamp;
      }
      node.handshakes.tick();
    }
  });
  return { ...handshake, tick: tick / TICKS };
}

// The first time is that of a compiler.
measure();
const { initiator, responder, tick } = measure();
const handshakesASecond = (PEERS * 1000) / STANDARD_TIMING.rekeyAfterMs;
const microseconds = (handshakesASecond * (initiator + responder)) / 2 + TICKS_A_SECOND * tick;
console.log(
  [
    `one handshake, by who begins it      ${initiator.toFixed(0)} us`,
    `by who answers                       ${responder.toFixed(0)} us`,
    `rules of time of ${PEERS} sessions      ${tick.toFixed(0)} us, ${TICKS_A_SECOND} times a second`,
    `${PEERS} sessions in use, in all        ${(microseconds / 1e4).toFixed(2)} % of a core, ${handshakesASecond.toFixed(1)} handshakes a second`,
  ].join('\n'),
);
