import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import {
  HEADER_BELL,
  HEADER_MAIL_TAIL,
  MAIL_ADDRESS,
  MAIL_BYTES,
  MAIL_INTS,
  MAIL_LENGTH,
  MAIL_PORT,
  MAILBOX_SIZE,
} from '../../../../src/backend/packet-path/tables/session-layout.js';
import { type HandshakeDriver, startHandshakeDriver } from '../../../../src/backend/wireguard/handshake-driver.js';
import { createCookieHolder } from '../../../../src/backend/wireguard/protocol/cookie.js';
import { generateIdentity } from '../../../../src/backend/wireguard/protocol/keys.js';
import { createMessage, INITIATION, initiation } from '../../../../src/backend/wireguard/protocol/messages.js';
import { STANDARD_TIMING } from '../../../../src/backend/wireguard/protocol/timing.js';
import { loadSessionMemory } from '../../../../src/backend/wireguard/session-file.js';
import { createSessionTable, type SessionTable } from '../../../../src/backend/wireguard/sessions/session-table.js';
import { waitFor } from '../../../../src/lab/wait-for.js';
import { createRecordingLog } from '../../../helpers/recording-log.js';

const own = generateIdentity();
let directory: string;
let table: SessionTable;
let driver: HandshakeDriver;
let sent: { message: Buffer; port: number }[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-driver-'));
  table = createSessionTable(200);
  sent = [];
  driver = start(undefined);
});
afterEach(async () => {
  await driver.stop();
  rmSync(directory, { recursive: true });
});

function start(timestampMs: number | undefined): HandshakeDriver {
  return startHandshakeDriver({
    own,
    table,
    timing: STANDARD_TIMING,
    stateDir: directory,
    memory: { timestampMs, peers: [] },
    send: (message, { port }) => sent.push({ message: Buffer.from(message), port }),
    log: createRecordingLog(),
  });
}

const signer = createCookieHolder(own.publicKey, { timing: STANDARD_TIMING, now: () => 0 });

/** As the packet path puts a message there. */
function post(message: Buffer): void {
  const { sessions, mailbox } = table.memory;
  const tail = sessions[HEADER_MAIL_TAIL];
  const at = (tail & (MAILBOX_SIZE - 1)) * MAIL_INTS;
  mailbox[at + MAIL_LENGTH] = message.length;
  mailbox[at + MAIL_ADDRESS] = 0x0a010109;
  mailbox[at + MAIL_PORT] = 1234;
  Buffer.from(mailbox.buffer, mailbox.byteOffset + 4 * (at + MAIL_BYTES), message.length).set(message);
  Atomics.store(sessions, HEADER_MAIL_TAIL, (tail + 1) | 0);
}

function ring(): void {
  Atomics.add(table.memory.sessions, HEADER_BELL, 1);
  Atomics.notify(table.memory.sessions, HEADER_BELL);
}

function hello(): Buffer {
  const message = createMessage(INITIATION, initiation.size);
  signer.sign(message);
  return message;
}

it('answers no more than a few messages at a time, so that others have their turn, and asks who floods for a cookie', async () => {
  const others = vi.fn();
  const timer = setInterval(others, 1);
  for (let i = 0; i < MAILBOX_SIZE; i++) post(hello());
  ring();
  await waitFor('the last answer', () => driver.counters().in_drop_handshake_under_load === MAILBOX_SIZE, 5000);
  clearInterval(timer);
  // 64 messages, 8 at a time.
  expect(others.mock.calls.length).toBeGreaterThanOrEqual(7);
  expect(sent).toHaveLength(MAILBOX_SIZE);
  expect(sent.every(({ message, port }) => message.length === 64 && port === 1234)).toBe(true);
});

it('looks at single messages without a cookie, and says what is wrong with them', async () => {
  post(hello());
  ring();
  await waitFor('the look', () => driver.counters().in_drop_handshake_forged === 1, 5000);
  expect(sent).toEqual([]);
});

it('speaks to those that it is to greet, a few in each tick, and keeps when it did', async () => {
  const lines = Array.from({ length: 100 }, (_, i) =>
    driver.handshakes.addPeer({
      publicKey: generateIdentity().publicKey,
      presharedKey: Buffer.alloc(32),
      endpoint: { address: 0x0a010101 + i, port: 51820 },
      keepaliveMs: 0,
    }),
  );
  driver.greet(lines);
  await turn();
  expect(sent).toEqual([]);
  await waitFor('the first of them', () => sent.length > 0, 5000);
  expect(sent.length).toBeLessThanOrEqual(24);
  expect(sent[0].message.length).toBe(initiation.size);
  await driver.stop();
  const { timestampMs } = await loadSessionMemory(directory, createRecordingLog());
  expect(Math.abs(timestampMs! - Date.now())).toBeLessThan(5000);
});

it('tells by how much the clock has gone back since the last run', async () => {
  expect(driver.clockBehindSeconds()).toBe(0);
  await driver.stop();
  driver = start(Date.now() + 3_600_000);
  expect(driver.clockBehindSeconds()).toBeGreaterThan(3590);
});

it('after a change of our key goes on with whom it was trying to reach: packets wait for that', async () => {
  const line = driver.handshakes.addPeer({
    publicKey: generateIdentity().publicKey,
    presharedKey: Buffer.alloc(32),
    endpoint: { address: 0x0a010101, port: 51820 },
    keepaliveMs: 0,
  });
  driver.handshakes.wanted(line);
  expect(sent).toHaveLength(1);
  driver.setIdentity(generateIdentity());
  expect(driver.handshakes.sessionOf(line)!.tryingForMs).toBeUndefined();
  await waitFor('the next initiation', () => sent.length === 2, 4000);
  expect(driver.handshakes.sessionOf(line)!.tryingForMs).toBeLessThan(1000);
});
