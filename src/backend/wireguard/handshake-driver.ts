import { randomBytes } from 'node:crypto';
import type { Logger } from '../../core/logger.js';
import { elapsedMs, nowMs } from '../packet-path/tables/clock.js';
import { createHandshakes } from './protocol/handshakes.js';
import { generateIdentity, type Identity } from './protocol/keys.js';
import { REFUSALS, type Refusal } from './protocol/party.js';
import type { Activity, Endpoint, Sessions } from './protocol/sessions.js';
import { createTimestamps, KEPT_WITHIN_MS } from './protocol/tai64n.js';
import type { Timing } from './protocol/timing.js';
import { createSessionKeeper, type SessionMemory } from './session-file.js';
import { MAILBOX_ROOM, takeMail, waitingMail } from './sessions/mailbox.js';
import type { SessionTable } from './sessions/session-table.js';

export interface DriverOptions {
  readonly own: Identity;
  readonly table: SessionTable;
  readonly timing: Timing;
  readonly stateDir: string;
  /** Of the last run. */
  readonly memory: SessionMemory;
  /** What is lost is sent again by the protocol itself. */
  readonly send: (message: Buffer, to: Endpoint) => void;
  readonly log: Logger;
}

const TICK_MS = 250;
/** One message costs a millisecond of the thread that holds etcd: after so many it is others' turn ... */
const MESSAGES_A_TURN = 8;
const PEERS_A_TURN = 32;
/** ... for so long. */
const REST_MS = 4;
/** From an eighth of the mailbox on, and for a second after, who asks has to show that its address is its own. */
const MANY_MESSAGES = MAILBOX_ROOM / 8;
const LOADED_FOR_MS = 1000;
/** Peers of the last run that are spoken to in one tick: 48 a second. */
const GREETINGS_A_TICK = 12;
/** After a change of our key peers learn the new one by our lease: a little later they know it. */
const KNOWN_AFTER_MS = 1000;

/**
 * The protocol at work: what the packet path has to tell is heard, rules of time are looked at four times a second, and what
 * the next start has to know is kept.
 */
export function startHandshakeDriver(options: DriverOptions) {
  const { table, timing, memory, send, log } = options;
  const refusals = new Map<Refusal, number>();
  const timestamps = createTimestamps(Date.now, memory.timestampMs);
  const handshakes = createHandshakes({
    own: options.own,
    sessions: sessionsOf(table),
    timing,
    timestamps,
    now,
    random: randomBytes,
    ephemeral: generateIdentity,
    send,
    refused: (why) => refusals.set(why, (refusals.get(why) ?? 0) + 1),
  });
  const keep = createSessionKeeper(options.stateDir, log);
  /** Those to be spoken to first, as lines. */
  const greetings = new Set<number>();
  let loadedAt = Number.NEGATIVE_INFINITY;
  let keptAt = now();
  let keeping: Promise<void> = Promise.resolve();
  let isStopped = false;
  let rest: NodeJS.Timeout | undefined;

  async function listen(): Promise<void> {
    while (!isStopped) {
      await table.news();
      if (rest === undefined) work();
    }
  }

  function work(): void {
    rest = undefined;
    if (isStopped) return;
    const isMore = [takePeers(), takeMessages()].includes(true);
    if (isMore) rest = setTimeout(work, REST_MS);
  }

  /** @returns whether more may wait */
  function takePeers(): boolean {
    for (let i = 0; i < PEERS_A_TURN; i++) {
      const news = table.takeAttention();
      if (news === undefined) return false;
      for (const index of news.confirmed) handshakes.confirmed(index);
      if (news.wantsSession) handshakes.wanted(news.line);
    }
    return true;
  }

  function takeMessages(): boolean {
    for (let i = 0; i < MESSAGES_A_TURN; i++) {
      if (waitingMail(table.memory) > MANY_MESSAGES) loadedAt = now();
      const mail = takeMail(table.memory);
      if (mail === undefined) return false;
      const { buffer, byteOffset, length } = mail.bytes;
      const message = Buffer.from(buffer, byteOffset, length);
      handshakes.receive(message, mail.source, now() - loadedAt < LOADED_FOR_MS);
    }
    return true;
  }

  function tick(): void {
    handshakes.tick();
    greet();
    // What was told when nobody listened yet.
    if (rest === undefined) work();
    if (now() - keptAt >= KEPT_WITHIN_MS / 2) keepMemory();
  }

  function greet(): void {
    for (const line of [...greetings].slice(0, GREETINGS_A_TICK)) {
      greetings.delete(line);
      handshakes.wanted(line);
    }
  }

  function keepMemory(): void {
    keptAt = now();
    const peers = handshakes.withSession().map((key) => key.toString('base64'));
    // Until there was an initiation of this run, the last one of former runs counts.
    const timestampMs = timestamps.last() || memory.timestampMs;
    if (peers.length > 0 || timestampMs !== undefined) keeping = keeping.then(() => keep({ timestampMs, peers }));
  }

  const ticks = setInterval(tick, TICK_MS);
  void listen();

  return {
    handshakes,
    /** To be spoken to without a packet for it. */
    greet: (lines: Iterable<number>) => {
      for (const line of lines) greetings.add(line);
    },
    setIdentity(next: Identity): void {
      const lines = [...handshakes.setIdentity(next), ...handshakes.linesWithSession()];
      setTimeout(() => {
        for (const line of lines) greetings.add(line);
      }, KNOWN_AFTER_MS).unref();
    },
    /** A moment ahead is no more than how coarse timestamps are. */
    clockBehindSeconds: () =>
      Math.max(0, Math.floor((Math.max(timestamps.last(), memory.timestampMs ?? 0) - Date.now()) / 1000)),
    counters: () => Object.fromEntries(REFUSALS.map((why) => [counterOf(why), refusals.get(why) ?? 0])),
    async stop(): Promise<void> {
      isStopped = true;
      clearInterval(ticks);
      clearTimeout(rest);
      keepMemory();
      await keeping;
    },
  };
}

export type HandshakeDriver = ReturnType<typeof startHandshakeDriver>;

/** Such as in_drop_handshake_bad_mac1. */
const counterOf = (why: Refusal) => `in_drop_handshake_${why.replaceAll(' ', '_')}`;

/** From 1 on: 0 says "never" of an activity. */
export const now = () => 1 + performance.now();

export function sessionsOf(table: SessionTable): Sessions {
  return {
    ...table,
    // A key is installed at the moment of its birth.
    install: (index, key) => table.install(index, { ...key, bornAt: nowMs() }),
    activity(line): Activity {
      const { lastSent, lastReceived, unansweredSince, owedSince } = table.activity(line);
      const [ours, paths] = [now(), nowMs()];
      // The packet path's clock is one of 31 bits, and begins elsewhere.
      const since = (stamp: number) => (stamp === 0 ? 0 : ours - elapsedMs(stamp, paths));
      return {
        lastSent: since(lastSent),
        lastReceived: since(lastReceived),
        unansweredSince: since(unansweredSince),
        owedSince: since(owedSince),
      };
    },
  };
}
