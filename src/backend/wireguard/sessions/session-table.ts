import { randomInt } from 'node:crypto';
import type { SealedMemory } from '../../../system/native.js';
import { sharedInts } from '../../packet-path/tables/memory.js';
import {
  ATTENTION_CONFIRMED,
  ATTENTION_WANTS_SESSION,
  HEADER_ATTENTION_HEAD,
  HEADER_ATTENTION_TAIL,
  HEADER_BELL,
  HEADER_INTS,
  HEADER_MAC_KEY,
  HEADER_MTU,
  HEADER_REJECT_AFTER_MS,
  HEADER_REQUEST_TAIL,
  INDEX_LINE_BITS,
  INDEX_SLOT_BITS,
  LINE_ADDRESS,
  LINE_ATTENTION,
  LINE_CURRENT,
  LINE_HEAD_INTS,
  LINE_INTS,
  LINE_OWED_SINCE,
  LINE_RECEIVED,
  LINE_REQUESTS,
  LINE_SENT,
  LINE_SLOTS,
  LINE_UNANSWERED_SINCE,
  MAIL_INTS,
  MAILBOX_SIZE,
  MAX_LINES,
  OPENED_INTS,
  REQUEST_DROP_STAGED,
  REQUEST_KEEPALIVE,
  REQUEST_SEND_STAGED,
  SLOT_BORN_AT,
  SLOT_EMPTY,
  SLOT_INDEX,
  SLOT_INSTALLED,
  SLOT_INTS,
  SLOT_IS_CONFIRMED,
  SLOT_RECEIVE_KEY,
  SLOT_REMOTE_INDEX,
  SLOT_RESERVED,
  SLOT_SEND_KEY,
  SLOT_STATE,
  WINDOW_INTS,
} from '../../packet-path/tables/session-layout.js';
import type { Endpoint, Sessions } from '../protocol/sessions.js';

/** Packets that one call opens at most: as many as 16 trains can have. */
const MOST_OPENED = 4096;
const GENERATIONS = 2 ** (32 - INDEX_LINE_BITS - INDEX_SLOT_BITS);

/** What the worker has to say of a peer. */
export interface Attention {
  readonly line: number;
  /** Packets wait, and there is no key to send them by. */
  readonly wantsSession: boolean;
  /** Keys that do not send, and whose peer has shown that it has them too. */
  readonly confirmed: readonly number[];
}

/**
 * The main thread's hand on the sessions that the worker seals and opens by (native/src/sessions.h). A slot is written while
 * its state says that it holds no key, and wiped as soon as it is given up. Its clock is the packet path's, also of `bornAt`.
 */
export interface SessionTable extends Sessions {
  readonly memory: SealedMemory;
  /** @param mtu of the tunnel @param macKey by which messages for us carry their mac1 */
  configure(settings: { mtu: number; rejectAfterMs: number; macKey: Uint8Array }): void;
  /** Called when a request of the worker waits: to be told by its event. */
  onWake(wake: () => void): void;
  takeAttention(): Attention | undefined;
  /** Resolves when the worker has rung since the last call, for mail or attention. */
  news(): Promise<void>;
}

/** @param most peers at once */
export function createSessionTable(most: number): SessionTable {
  if (most >= MAX_LINES) throw new RangeError(`expected fewer than ${MAX_LINES} peers`);
  const memory = createMemory(most + 1);
  const { sessions, windows, attention, requests } = memory;
  const ringMask = requests.length - 1;
  /** Released lines, the longest ago first. */
  const free: number[] = [];
  let unused = 1;
  let wake: () => void = () => undefined;
  let bell = 0;

  const lineAt = (line: number) => HEADER_INTS + line * LINE_INTS;
  const slotAt = (line: number, slot: number) => lineAt(line) + LINE_HEAD_INTS + slot * SLOT_INTS;
  const slotOf = (index: number) => slotAt(lineOf(index), index & (LINE_SLOTS - 1));
  /** When each slot was emptied, counted: the longest ago is used first, so that nobody is still looking at it. */
  const emptied = new Map<number, number>();
  let emptyings = 0;

  function empty(at: number): void {
    Atomics.store(sessions, at + SLOT_STATE, SLOT_EMPTY);
    Atomics.store(sessions, at + SLOT_INDEX, 0);
    sessions.fill(0, at + SLOT_REMOTE_INDEX, at + SLOT_INTS);
    emptied.set(at, ++emptyings);
  }

  function request(line: number, bit: number): void {
    if (Atomics.or(sessions, lineAt(line) + LINE_REQUESTS, bit) === 0) {
      const tail = sessions[HEADER_REQUEST_TAIL];
      Atomics.store(requests, tail & ringMask, line);
      Atomics.store(sessions, HEADER_REQUEST_TAIL, (tail + 1) | 0);
    }
    wake();
  }

  function isOf(index: number): boolean {
    const line = lineOf(index);
    return index !== 0 && line > 0 && line <= most && sessions[slotOf(index) + SLOT_INDEX] === index;
  }

  function removeKeys(line: number): void {
    Atomics.store(sessions, lineAt(line) + LINE_CURRENT, 0);
    for (let slot = 0; slot < LINE_SLOTS; slot++) {
      if (sessions[slotAt(line, slot) + SLOT_STATE] !== SLOT_EMPTY) empty(slotAt(line, slot));
    }
  }

  /** 32 bytes as they lie in memory. */
  function setKey(at: number, key: Uint8Array): void {
    if (key.length !== 32) throw new RangeError('expected a key of 32 bytes');
    // Not slice(): that of a Buffer is a view of all that it is a part of.
    const words = new Int32Array(Uint8Array.from(key).buffer);
    sessions.set(words, at);
    words.fill(0);
  }

  /** An empty one. @throws RangeError if there is none: one that is not released is a mistake */
  function emptySlot(line: number): number {
    let found = -1;
    for (let slot = 0; slot < LINE_SLOTS; slot++) {
      const at = slotAt(line, slot);
      if (sessions[at + SLOT_STATE] !== SLOT_EMPTY) continue;
      if (found < 0 || (emptied.get(at) ?? 0) < (emptied.get(slotAt(line, found)) ?? 0)) found = slot;
    }
    if (found < 0) throw new RangeError(`peer ${line}: all its slots are taken`);
    return found;
  }

  /** The one that the slot has had comes again last of all. */
  const generations = new Map<number, number>();
  function nextGeneration(at: number): number {
    const generation = ((generations.get(at) ?? randomInt(GENERATIONS)) % (GENERATIONS - 1)) + 1;
    generations.set(at, generation);
    return generation;
  }

  function setCurrent(index: number): void {
    Atomics.store(sessions, lineAt(lineOf(index)) + LINE_CURRENT, index);
    request(lineOf(index), REQUEST_SEND_STAGED);
  }

  return {
    memory,
    configure({ mtu, rejectAfterMs, macKey }) {
      setKey(HEADER_MAC_KEY, macKey);
      Atomics.store(sessions, HEADER_REJECT_AFTER_MS, rejectAfterMs);
      Atomics.store(sessions, HEADER_MTU, mtu);
    },
    onWake(call) {
      wake = call;
    },
    addPeer() {
      // A number is given again as late as possible: the packet path may have loaded it just before its route went.
      const line = unused <= most ? unused++ : free.shift();
      if (line === undefined) throw new RangeError(`no room for more than ${most} peers`);
      return line;
    },
    removePeer(line) {
      removeKeys(line);
      const at = lineAt(line);
      storeEndpoint(sessions, at, { address: 0, port: 0 });
      for (const field of [LINE_SENT, LINE_RECEIVED, LINE_UNANSWERED_SINCE, LINE_OWED_SINCE])
        Atomics.store(sessions, at + field, 0);
      request(line, REQUEST_DROP_STAGED);
      free.push(line);
    },
    endpoint(line) {
      const endpoint = loadEndpoint(sessions, lineAt(line));
      return endpoint.port === 0 ? undefined : endpoint;
    },
    setEndpoint(line, endpoint) {
      storeEndpoint(sessions, lineAt(line), endpoint);
    },
    reserve(line) {
      const slot = emptySlot(line);
      const at = slotAt(line, slot);
      const index = (nextGeneration(at) << (INDEX_LINE_BITS + INDEX_SLOT_BITS)) | (line << INDEX_SLOT_BITS) | slot;
      windows.fill(0, (line * LINE_SLOTS + slot) * WINDOW_INTS, (line * LINE_SLOTS + slot + 1) * WINDOW_INTS);
      Atomics.store(sessions, at + SLOT_INDEX, index);
      Atomics.store(sessions, at + SLOT_STATE, SLOT_RESERVED);
      return index;
    },
    release(index) {
      if (!isOf(index)) return;
      Atomics.compareExchange(sessions, lineAt(lineOf(index)) + LINE_CURRENT, index, 0);
      empty(slotOf(index));
    },
    install(index, { remoteIndex, sendKey, receiveKey, bornAt, role }) {
      if (!isOf(index)) throw new RangeError('that index is not reserved');
      const at = slotOf(index);
      sessions[at + SLOT_REMOTE_INDEX] = remoteIndex;
      sessions[at + SLOT_BORN_AT] = bornAt;
      setKey(at + SLOT_SEND_KEY, sendKey);
      setKey(at + SLOT_RECEIVE_KEY, receiveKey);
      Atomics.store(sessions, at + SLOT_STATE, SLOT_INSTALLED);
      if (role === 'current') setCurrent(index);
    },
    setRole(index, role) {
      if (!isOf(index)) return;
      if (role === 'current') setCurrent(index);
      else Atomics.compareExchange(sessions, lineAt(lineOf(index)) + LINE_CURRENT, index, 0);
    },
    activity(line) {
      const load = (field: number) => Atomics.load(sessions, lineAt(line) + field);
      return {
        lastSent: load(LINE_SENT),
        lastReceived: load(LINE_RECEIVED),
        unansweredSince: load(LINE_UNANSWERED_SINCE),
        owedSince: load(LINE_OWED_SINCE),
      };
    },
    sendKeepalive: (line) => request(line, REQUEST_KEEPALIVE),
    dropStaged: (line) => request(line, REQUEST_DROP_STAGED),
    takeAttention() {
      const head = sessions[HEADER_ATTENTION_HEAD];
      if (head === Atomics.load(sessions, HEADER_ATTENTION_TAIL)) return undefined;
      const line = Atomics.load(attention, head & ringMask);
      Atomics.store(sessions, HEADER_ATTENTION_HEAD, (head + 1) | 0);
      const flags = Atomics.exchange(sessions, lineAt(line) + LINE_ATTENTION, 0);
      return {
        line,
        wantsSession: (flags & ATTENTION_WANTS_SESSION) !== 0,
        confirmed: (flags & ATTENTION_CONFIRMED) === 0 ? [] : confirmedOf(line),
      };
    },
    async news() {
      await waitAsync(sessions, HEADER_BELL, bell).value;
      bell = Atomics.load(sessions, HEADER_BELL);
    },
  };

  function confirmedOf(line: number): number[] {
    const current = sessions[lineAt(line) + LINE_CURRENT];
    return Array.from({ length: LINE_SLOTS }, (_, slot) => slotAt(line, slot))
      .filter(
        (at) => sessions[at + SLOT_STATE] === SLOT_INSTALLED && Atomics.load(sessions, at + SLOT_IS_CONFIRMED) !== 0,
      )
      .map((at) => sessions[at + SLOT_INDEX])
      .filter((index) => index !== current);
  }
}

/** In Node since 16, in TypeScript's library of ES2024. */
const { waitAsync } = Atomics as unknown as {
  waitAsync(array: Int32Array, index: number, value: number): { readonly value: string | Promise<string> };
};

const lineOf = (index: number) => (index >>> INDEX_SLOT_BITS) & (MAX_LINES - 1);

function createMemory(lines: number): SealedMemory {
  const ring = 2 ** Math.ceil(Math.log2(lines));
  return {
    sessions: sharedInts(HEADER_INTS + lines * LINE_INTS),
    windows: sharedInts(lines * LINE_SLOTS * WINDOW_INTS),
    mailbox: sharedInts(MAILBOX_SIZE * MAIL_INTS),
    attention: sharedInts(ring),
    requests: sharedInts(ring),
    opened: sharedInts(MOST_OPENED * OPENED_INTS),
  };
}

/** One number of 64 bits, since the worker writes it too. */
const endpointsOf = (sessions: Int32Array) =>
  new BigInt64Array(sessions.buffer, sessions.byteOffset, sessions.length >> 1);

function loadEndpoint(sessions: Int32Array, line: number): Endpoint {
  const endpoint = Atomics.load(endpointsOf(sessions), (line + LINE_ADDRESS) >> 1);
  return { address: Number(BigInt.asIntN(32, endpoint)), port: Number(endpoint >> 32n) };
}

function storeEndpoint(sessions: Int32Array, line: number, { address, port }: Endpoint): void {
  const endpoint = (BigInt(port) << 32n) | BigInt.asUintN(32, BigInt(address));
  Atomics.store(endpointsOf(sessions), (line + LINE_ADDRESS) >> 1, endpoint);
}
