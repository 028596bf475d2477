import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf, messageOf } from '../core/errors.js';
import type { Ipv4 } from '../core/ipv4.js';
import type { Lease } from '../core/lease.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { formatSubnetKey } from '../core/subnet.js';
import type { Echo, EchoSocket } from '../system/echo.js';
import { healthOf, type PeerFacts, type PeerHealth } from './peer-health.js';
import { createProbes, type Probe } from './probes.js';

export interface HealthOptions {
  /** The same array until any of them changes. */
  readonly peers: () => readonly Lease[];
  /** Undefined: nobody is probed, and only what is heard anyway counts. */
  readonly socket: EchoSocket | undefined;
  /** Where the peer with that lease answers; undefined: nowhere that is known. */
  readonly addressOf: (lease: Lease) => Ipv4 | undefined;
  readonly isSureToAnswer: boolean;
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

/** For an answer that was ordered. */
const LONGEST_ANSWER_MS = 1000;
/** Before another one is sent to the same peer on order. */
const LEAST_ANSWER_MS = 500;
const LOOK_MS = 20;

interface Probed {
  readonly lease: Lease;
  readonly probe: Probe;
  /** By the clock that the kernel stamps answers with. */
  sentMicros: number;
  readonly since: number;
  /** Its own probes come from it too. In ms of our clock; undefined: never. */
  heardAt: number | undefined;
  readonly packets: { out: number; in: number };
}

/** Asks each peer from time to time whether it is there, and knows how each is. */
export function keepHealth(options: HealthOptions): Health {
  const { peers, socket, addressOf, isSureToAnswer, isByKernel, log } = options;
  const probes = createProbes();
  const bySubnet = new Map<string, Probed>();
  const byAddress = new Map<Ipv4, Probed>();
  /** By subnet, for ever: so does the packet path count. */
  const packets = new Map<string, Probed['packets']>();
  const limit = createRepeatLimit();
  let known: readonly Lease[] = [];
  let timer = setTimeout(turn, 0).unref();

  function turn(): void {
    look();
    const probe = probes.take(performance.now());
    const probed = probe && byAddress.get(probe.address);
    if (probed !== undefined) send(probed);
    const wait = probes.msUntilNext(performance.now()) ?? LONGEST_WAIT_MS;
    timer = setTimeout(turn, Math.min(wait, LONGEST_WAIT_MS)).unref();
  }

  function send(probed: Probed): void {
    const { address, sequence } = probed.probe;
    try {
      probed.sentMicros = socket!.send(address, ECHO_ID, sequence);
      probed.packets.out++;
    } catch (error) {
      probes.failed(probed.probe, whyNotSent(error));
    }
  }

  function look(): void {
    if (socket === undefined) return;
    followPeers();
    try {
      for (const echo of socket.receive()) if (echo.id === ECHO_ID) heard(echo);
    } catch (error) {
      limit((suppressed) => log.warn({ reason: messageOf(error), suppressed }, 'answers of peers cannot be read'));
    }
  }

  function heard({ type, source, sequence, payloadBytes, receivedAt }: Echo): void {
    const probed = byAddress.get(source);
    if (probed === undefined) return;
    if (payloadBytes === 0) probed.packets.in++;
    if (type === 'request') {
      probed.heardAt = performance.now();
      // Which the kernel has answered.
      if (payloadBytes === 0) probed.packets.out++;
      return;
    }
    // A clock that was set in between tells nothing of the way.
    const rttMs = Math.max(0, receivedAt - probed.sentMicros) / 1000;
    probes.answered(probed.probe, sequence, performance.now(), rttMs);
  }

  /** Waits until it is answered, another one takes its place, or so long. */
  async function follow(probe: Probe, longestMs: number): Promise<void> {
    const { sequence } = probe;
    while (probe.sequence === sequence && isOpen(probe, longestMs)) {
      await delay(LOOK_MS);
      look();
    }
  }

  function followPeers(): void {
    const now = peers();
    if (now === known) return;
    known = now;
    const current = new Map(now.map((lease) => [formatSubnetKey(lease.subnet), lease]));
    for (const [key, { lease }] of bySubnet) if (current.get(key) !== lease) forget(key);
    for (const [key, lease] of current) if (!bySubnet.has(key)) begin(key, lease);
  }

  function begin(key: string, lease: Lease): void {
    const address = addressOf(lease);
    if (address === undefined || byAddress.has(address)) return;
    const counts = packets.get(key) ?? { out: 0, in: 0 };
    packets.set(key, counts);
    const probed = {
      lease,
      probe: probes.add(address),
      sentMicros: 0,
      since: performance.now(),
      heardAt: undefined,
      packets: counts,
    };
    bySubnet.set(key, probed);
    byAddress.set(address, probed);
  }

  /** Another node at that subnet, or another version of it, has a life of its own. */
  function forget(key: string): void {
    const { probe } = bySubnet.get(key)!;
    bySubnet.delete(key);
    byAddress.delete(probe.address);
    probes.remove(probe);
  }

  function peerFacts(lease: Lease, problem: string | undefined, heardSecondsAgo: number | undefined): PeerFacts {
    const probed = bySubnet.get(formatSubnetKey(lease.subnet));
    const byPath = heardSecondsAgo === undefined ? undefined : performance.now() - heardSecondsAgo * 1000;
    const heard = [byPath, probed?.heardAt].filter((at) => at !== undefined);
    return {
      lease,
      problem,
      probe: probed?.probe,
      heardAt: heard.length === 0 ? undefined : Math.max(...heard),
      // flannel's nodes send none.
      daemonHeardAt: isByKernel && lease.version !== undefined ? (probed?.heardAt ?? probed?.since) : undefined,
      isSureToAnswer,
      roundMs: probes.roundMs(),
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
      const probed = bySubnet.get(formatSubnetKey(lease.subnet));
      if (probed === undefined) return;
      const { probe } = probed;
      const { sequence } = probe;
      // Only the last probe can be answered. Orders that come faster than answers would make any peer look silent.
      const wasOpen = isOpen(probe, LEAST_ANSWER_MS);
      await follow(probe, LEAST_ANSWER_MS);
      if (probe.sequence === sequence && !(wasOpen && probe.isAnswered)) {
        probes.begin(probe, performance.now());
        send(probed);
      }
      await follow(probe, LONGEST_ANSWER_MS);
    },
    probePackets: (lease) => packets.get(formatSubnetKey(lease.subnet)) ?? { out: 0, in: 0 },
    stop() {
      clearTimeout(timer);
      socket?.close();
    },
  };
}

/** An answer may still come. */
function isOpen({ sentAt, isAnswered, sendError }: Probe, longestMs: number): boolean {
  return sentAt !== undefined && !isAnswered && sendError === undefined && performance.now() < sentAt + longestMs;
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
