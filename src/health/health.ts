import { setTimeout as delay } from 'node:timers/promises';
import { newProbe } from '../core/echo-turns.js';
import { errnoOf, messageOf } from '../core/errors.js';
import { createHistogram, type HistogramCounts } from '../core/histogram.js';
import type { Ipv4 } from '../core/ipv4.js';
import type { Lease } from '../core/lease.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import type { Echo, EchoSocket } from '../system/echo.js';
import { healthOf, later, type PeerFacts, type PeerHealth, type PeerProbe } from './peer-health.js';
import { createProbeTurns, ECHOES, type ProbedSessions } from './probe-turns.js';

export interface HealthOptions {
  /** The same array until any of them changes. */
  readonly peers: () => readonly Lease[];
  /** Undefined: nobody is probed, and only what is heard anyway counts. */
  readonly socket: EchoSocket | undefined;
  /** Where the peer with that lease answers; undefined: nowhere that is known. */
  readonly addressOf: (lease: Lease) => Ipv4 | undefined;
  /** From where its own probes come. */
  readonly sourceOf: (lease: Lease) => Ipv4 | undefined;
  readonly isSureToAnswer: boolean;
  /** Where packets go by sessions, which are begun in turn. */
  readonly sessions?: ProbedSessions<Lease> | undefined;
  /** Peers answer and forward also when their daemons are gone. */
  readonly isByKernel: boolean;
  readonly log: Logger;
}

export interface Health {
  /** Reads the answers that wait in the socket: once before the peers are told of, however many they are. */
  look(): void;
  /** @param heardSecondsAgo anything from it, of the packet path @param problem why nothing is sent there */
  of(lease: Lease, problem: string | undefined, heardSecondsAgo: number | undefined): PeerHealth;
  /** What is behind that: what was heard, and what was answered. */
  facts(lease: Lease, problem: string | undefined, heardSecondsAgo: number | undefined): HealthFacts;
  /** Probes it now, whatever its turn, and waits for the answer, so long and no longer. */
  probeNow(lease: Lease): Promise<void>;
  /** How many packets of both nodes' probes have gone to that peer and come from it: they are no traffic. */
  probePackets(lease: Lease): ProbePackets;
  /** How long the probes of all peers were away. */
  rtts(): HistogramCounts;
  stop(): void;
}

/** Ages are in seconds; null: never. */
export interface HealthFacts {
  readonly heardSeconds: number | null;
  readonly answeredSeconds: number | null;
  readonly misses: number;
  readonly rttMs: number | null;
  /** Why nothing can be sent to it; null: something can. */
  readonly obstacle: string | null;
}

export interface ProbePackets {
  readonly out: number;
  readonly in: number;
}

/** By which our probes are told from a `ping`. It need not be secret: an answer counts for the last probe alone. */
const ECHO_ID = 0x5244;
/** How late a new peer is noticed by a node that has nobody else to probe. */
const LONGEST_WAIT_MS = 1000;
/** How often the peers are compared with those that were known: thousands of them, and each change makes another list. */
const FOLLOW_MS = 1000;
/** New ones of one look. At a start all are new, and the rest of the daemon has to wait for them. */
const MOST_NEW = 500;

/** For an answer that was ordered. */
const LONGEST_ANSWER_MS = 1000;
/** Before another one is sent to the same peer on order. */
const LEAST_ANSWER_MS = 500;
const LOOK_MS = 20;

/** From a rack to the other side of the world, in seconds. */
const RTT_BOUNDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

/** By a number: text for thousands of them costs more than all else here. */
const keyOf = ({ subnet }: Lease) => subnet.address * 64 + subnet.prefixLength;

interface Probed extends PeerProbe {
  readonly lease: Lease;
  /** By the clock that the kernel stamps answers with. */
  sentMicros: number;
  readonly since: number;
  /** Its own probes come from it too. In ms of our clock; undefined: never. */
  heardAt: number | undefined;
  readonly packets: { out: number; in: number };
}

/** Asks each peer from time to time whether it is there, and knows how each is. */
export function keepHealth(options: HealthOptions): Health {
  const { peers, socket, addressOf, sourceOf, isSureToAnswer, isByKernel, sessions, log } = options;
  const turns = createProbeTurns<Probed>(sessions && ofProbed(sessions));
  const bySubnet = new Map<number, Probed>();
  const byAddress = new Map<Ipv4, Probed>();
  /** Where it is another one. */
  const bySource = new Map<Ipv4, Probed>();
  /** By subnet, for ever: so does the packet path count. */
  const packets = new Map<number, Probed['packets']>();
  const limit = createRepeatLimit();
  const rtts = createHistogram(RTT_BOUNDS);
  let known: readonly Lease[] = [];
  /** Those of them that are not asked yet. */
  let unbegun: Lease[] = [];
  let followedAt = Number.NEGATIVE_INFINITY;
  let timer = setTimeout(turn, 0).unref();

  function turn(): void {
    if (performance.now() - followedAt >= FOLLOW_MS) followPeers();
    hear();
    turns.take(performance.now()).forEach(send);
    const wait = turns.msUntilNext(performance.now()) ?? LONGEST_WAIT_MS;
    timer = setTimeout(turn, Math.min(Math.max(wait, ECHOES.tickMs), LONGEST_WAIT_MS)).unref();
  }

  function send(probed: Probed): void {
    probed.sendError = undefined;
    try {
      probed.sentMicros = socket!.send(probed.address, ECHO_ID, probed.sequence);
      probed.packets.out++;
    } catch (error) {
      probed.sendError = whyNotSent(error);
    }
  }

  function look(): void {
    followPeers();
    hear();
  }

  function hear(): void {
    if (socket === undefined) return;
    try {
      const echoes = socket.receive().filter(({ id }) => id === ECHO_ID);
      // Whoever has just come asks at once. The packet path has counted that, and it would be taken for traffic.
      if (echoes.some((echo) => probedAt(echo) === undefined)) followPeers();
      echoes.forEach(heard);
    } catch (error) {
      limit((suppressed) => log.warn({ reason: messageOf(error), suppressed }, 'answers of peers cannot be read'));
    }
    // It counts their misses, and health is looked at only when somebody asks.
    turns.missed(performance.now());
  }

  const probedAt = ({ type, source }: Echo) =>
    (type === 'request' ? bySource.get(source) : undefined) ?? byAddress.get(source);

  function heard(echo: Echo): void {
    const { type, sequence, payloadBytes, receivedAt } = echo;
    const probed = probedAt(echo);
    if (probed === undefined) return;
    if (payloadBytes === 0) probed.packets.in++;
    if (type === 'request') {
      probed.heardAt = performance.now();
      // Which the kernel has answered.
      if (payloadBytes === 0) probed.packets.out++;
      return;
    }
    if (!turns.answered(probed, sequence)) return;
    probed.answeredAt = performance.now();
    // A clock that was set in between tells nothing of the way.
    probed.rttMs = Math.max(0, receivedAt - probed.sentMicros) / 1000;
    rtts.add(probed.rttMs / 1000);
  }

  /** Waits until it is answered, another one takes its place, or so long. */
  async function follow(probed: Probed, longestMs: number): Promise<void> {
    const { sequence } = probed;
    while (probed.sequence === sequence && isOpen(probed, longestMs)) {
      await delay(LOOK_MS);
      look();
    }
  }

  function followPeers(): void {
    followedAt = performance.now();
    const now = peers();
    if (socket === undefined) return;
    if (now !== known) {
      known = now;
      const current = new Map(now.map((lease) => [keyOf(lease), lease]));
      for (const [key, { lease }] of bySubnet) if (current.get(key) !== lease) forget(key);
      unbegun = now.filter((lease) => !bySubnet.has(keyOf(lease)));
    }
    for (const lease of unbegun.splice(0, MOST_NEW)) begin(keyOf(lease), lease);
    // The others at the next turn: it is long before each has had an echo anyway.
    if (unbegun.length > 0) followedAt = Number.NEGATIVE_INFINITY;
  }

  function begin(key: number, lease: Lease): void {
    const address = addressOf(lease);
    if (address === undefined || byAddress.has(address)) return;
    const counts = packets.get(key) ?? { out: 0, in: 0 };
    packets.set(key, counts);
    const probed: Probed = {
      ...newProbe(address),
      lease,
      answeredAt: undefined,
      rttMs: undefined,
      sendError: undefined,
      sentMicros: 0,
      since: performance.now(),
      heardAt: undefined,
      packets: counts,
    };
    turns.add(probed);
    bySubnet.set(key, probed);
    byAddress.set(address, probed);
    const source = sourceOf(lease);
    if (source !== undefined && source !== address) bySource.set(source, probed);
  }

  /** Another node at that subnet, or another version of it, has a life of its own. */
  function forget(key: number): void {
    const probed = bySubnet.get(key)!;
    bySubnet.delete(key);
    byAddress.delete(probed.address);
    const source = sourceOf(probed.lease);
    if (source !== undefined && bySource.get(source) === probed) bySource.delete(source);
    turns.remove(probed);
  }

  function peerFacts(lease: Lease, problem: string | undefined, heardSecondsAgo: number | undefined): PeerFacts {
    const found = bySubnet.get(keyOf(lease));
    // Peers are followed once a second: until then its predecessor's probes are there.
    const probed = found?.lease === lease ? found : undefined;
    const byPath = heardSecondsAgo === undefined ? undefined : performance.now() - heardSecondsAgo * 1000;
    return {
      lease,
      problem,
      probe: probed,
      heardAt: later(byPath, probed?.heardAt),
      // flannel's nodes send none.
      daemonHeardAt: isByKernel && lease.version !== undefined ? (probed?.heardAt ?? probed?.since) : undefined,
      isSureToAnswer,
      roundMs: turns.roundMs(probed),
      peersRoundMs: turns.peersRoundMs(),
    };
  }

  return {
    look,
    of: (...of) => healthOf(peerFacts(...of), performance.now()),
    facts(...of) {
      const { probe, heardAt, problem } = peerFacts(...of);
      const now = performance.now();
      const secondsSince = (at: number | undefined) => (at === undefined ? null : (now - at) / 1000);
      return {
        heardSeconds: secondsSince(heardAt),
        answeredSeconds: secondsSince(probe?.answeredAt),
        misses: probe?.misses ?? 0,
        rttMs: probe?.rttMs ?? null,
        obstacle: problem ?? probe?.sendError ?? null,
      };
    },
    async probeNow(lease) {
      look();
      const probed = bySubnet.get(keyOf(lease));
      if (probed === undefined) return;
      const { sequence } = probed;
      // Only the last probe can be answered. Orders that come faster than answers would make any peer look silent.
      const wasOpen = isOpen(probed, LEAST_ANSWER_MS);
      await follow(probed, LEAST_ANSWER_MS);
      if (probed.sequence === sequence && !(wasOpen && isAnswered(probed))) {
        turns.begin(probed, performance.now());
        send(probed);
      }
      await follow(probed, LONGEST_ANSWER_MS);
    },
    probePackets: (lease) => packets.get(keyOf(lease)) ?? { out: 0, in: 0 },
    rtts: rtts.counts,
    stop() {
      clearTimeout(timer);
      socket?.close();
    },
  };
}

const ofProbed = (sessions: ProbedSessions<Lease>): ProbedSessions<Probed> => ({
  ...sessions,
  isFresh: ({ lease }) => sessions.isFresh(lease),
  begin: sessions.begin && (({ lease }) => sessions.begin?.(lease)),
});

/** Its last probe. */
const isAnswered = ({ sentAt, answeredAt }: Probed) =>
  sentAt !== undefined && answeredAt !== undefined && answeredAt >= sentAt;

/** An answer may still come. */
function isOpen(probed: Probed, longestMs: number): boolean {
  const { sentAt, sendError } = probed;
  if (sentAt === undefined || sendError !== undefined || isAnswered(probed)) return false;
  return performance.now() < sentAt + longestMs;
}

function whyNotSent(error: unknown): string {
  switch (errnoOf(error)) {
    case 'EPERM':
      return 'a firewall rule of this host drops what is sent to it';
    case 'ENETUNREACH':
    case 'EHOSTUNREACH':
      return 'this host has no route to it';
    case 'ENETDOWN':
      return 'the device on the way to it is down';
    case 'ENOBUFS':
    case 'EAGAIN':
      return 'the queue on the way to it is full';
    default:
      return messageOf(error);
  }
}
