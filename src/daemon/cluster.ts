import type { KeyObject } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Answer, keepAnswers } from '../cluster/answers.js';
import { publicKeyOf } from '../cluster/identity.js';
import { type Overview, type OverviewInput, overviewOf, ownAnswer } from '../cluster/overview.js';
import { serveMembers } from '../cluster/serve.js';
import { aboutOf, type Curves, type PeerView, type Summary } from '../cluster/summary.js';
import {
  askHistory,
  askSummary,
  lookAt,
  type Member,
  MOST_ASKED,
  MOST_NODES,
  orderProbe,
  type Survey,
  survey,
  whyNotAsked,
} from '../cluster/survey.js';
import { waysOf } from '../cluster/ways.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import type { Lease } from '../core/lease.js';
import type { Logger } from '../core/logger.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import type { Status } from '../ops/status.js';

export interface ClusterOptions {
  readonly own: Subnet;
  readonly host: string | undefined;
  readonly version: string;
  /** By which members know our questions; undefined: we ask none, and answer none. */
  readonly key: KeyObject | undefined;
  /** Of the node with that subnet, in the overlay; undefined: none that is known. */
  readonly overlayAddressOf: (subnet: Subnet) => Ipv4 | undefined;
  /** It is that of a bridge, which may come and go. */
  readonly isAtBridge: boolean;
  /** Has the firewall keep all but members from where this node is asked, if rules are kept; answers rest on the MAC. */
  readonly guard: (address: Ipv4) => Promise<void>;
  readonly publicIp: () => Ipv4;
  readonly peers: () => readonly Lease[];
  /** It is not skipped: packets go to it. */
  readonly isMember: (lease: Lease) => boolean;
  readonly status: () => Promise<Status>;
  /** Before any of them is viewed. */
  readonly look: () => void;
  readonly view: (lease: Lease) => PeerView;
  /** Peers that have left of late. */
  readonly lost: () => OverviewInput['lost'];
  readonly history: () => Curves;
  readonly probeNow: (lease: Lease) => Promise<void>;
  readonly log: Logger;
}

/** What nodes tell each other of themselves, over the overlay: nothing else has a way for it. */
export interface Cluster {
  /** How all nodes see each other. Ways that seem to fail are probed once more before that is told. */
  survey(): Promise<Survey>;
  /** How all of it is, for somebody who looks: others are asked from now on for a while. */
  overview(status: Status): Overview;
  /** What has flowed at another node, as it says itself; undefined: it says nothing. */
  historyOf(subnet: string): Promise<Curves | undefined>;
  stop(): void;
}

/** Ways that are tried again for one survey. */
const MOST_SECOND_LOOKS = 40;

export function keepCluster(options: ClusterOptions): Cluster {
  const { own, host, version, key, overlayAddressOf, isAtBridge, peers, history, log } = options;
  const address = overlayAddressOf(own);
  const self = key === undefined || address === undefined ? undefined : { address, key, isAtBridge };
  const askerNow = () => self && { ...self, nodes: peers().length + 1 };
  const guarded = self && options.guard(self.address);
  const server = self && guarded && serveMembers({ ...self, guarded, keyOf, summary, probe, relay, history, log });

  let indexed: readonly Lease[] = [];
  let byAddress = new Map<Ipv4, Lease>();

  /** Asked at each connection, which may be a stranger's. */
  function keyOf(address: Ipv4): string | undefined {
    const now = peers();
    if (now !== indexed) byAddress = byOverlayAddress(now, overlayAddressOf);
    indexed = now;
    const lease = byAddress.get(address);
    return lease !== undefined && options.isMember(lease) ? lease.nodeKey : undefined;
  }

  async function summary(): Promise<Summary> {
    return summaryFrom(await options.status());
  }

  function summaryFrom(status: Status): Summary {
    options.look();
    const ready = status.problems.length === 0;
    return { host: host ?? null, version, ready, about: aboutOf(status), peers: peers().map(options.view) };
  }

  async function relay(subnet: string): Promise<Summary | undefined> {
    const lease = leaseOf(subnet);
    return lease && askSummary(memberOf(lease), askerNow());
  }

  const leaseOf = (subnet: string) => peers().find((peer) => formatSubnet(peer.subnet) === subnet);

  async function probe(subnet: string): Promise<PeerView | undefined> {
    const lease = leaseOf(subnet);
    if (lease === undefined) return undefined;
    await options.probeNow(lease);
    return options.view(lease);
  }

  function memberOf({ host, subnet, publicIp, nodeKey }: Lease): Member {
    return {
      host: host ?? null,
      subnet: formatSubnet(subnet),
      address: formatIpv4(publicIp),
      overlayAddress: overlayAddressOf(subnet),
      publicKey: nodeKey,
    };
  }

  async function look(): Promise<Survey> {
    const called = { host: host ?? null, subnet: formatSubnet(own), address: formatIpv4(options.publicIp()) };
    return survey({ ...called, summary: await summary() }, peers().map(memberOf), askerNow());
  }

  /** Who could be asked and has had no answer asks again, now. */
  async function lookAgain(first: Survey): Promise<boolean> {
    const members = new Map(peers().map((lease) => [formatSubnet(lease.subnet), memberOf(lease)]));
    const failed = waysOf(first).filter(({ from, state }) => state !== 'ok' && from.summary !== null);
    const orders = failed.slice(0, MOST_SECOND_LOOKS).map(({ from, to }) => {
      const member = members.get(from.subnet);
      return member === undefined ? probe(to.subnet) : orderProbe(member, askerNow(), to.subnet);
    });
    await Promise.allSettled(orders);
    return orders.length > 0;
  }

  const whyNot = (member: Member) => whyNotAsked(member, askerNow());
  /** While somebody looks. */
  function membersToAsk(members = peers().map(memberOf)): Member[] {
    return members.filter((member) => whyNot(member) === undefined);
  }

  const answers = keepAnswers({
    own: formatSubnet(own),
    members: () => membersToAsk(),
    ask: (member) => lookAt(member, askerNow()),
  });
  const sightings = createSightings();
  let ownBefore: Answer | undefined;

  function overview(status: Status): Overview {
    answers.want();
    ownBefore = ownAnswer(summaryFrom(status), ownBefore);
    const all = peers().map(memberOf);
    const members = new Map(all.map((member) => [member.subnet, member]));
    const inTurn = new Set(membersToAsk(all).slice(0, MOST_ASKED));
    return overviewOf({
      status,
      own: ownBefore,
      answerOf: answers.of,
      whyNotAsked(subnet) {
        const member = members.get(subnet);
        return member && (whyNot(member) ?? (inTurn.has(member) ? undefined : TOO_MANY));
      },
      isNew: sightings.note(members.keys()),
      lost: options.lost(),
    });
  }

  let asked: { readonly at: number; readonly subnet: string; readonly answer: Promise<Curves | undefined> } | undefined;

  /** Whoever asks us, others are asked at a bounded rate. */
  function historyOf(subnet: string): Promise<Curves | undefined> {
    const now = performance.now();
    if (asked?.subnet === subnet && now - asked.at < SHARED_MS) return asked.answer;
    const lease = leaseOf(subnet);
    // One after the other: several pages may want the past of several nodes.
    const at = Math.max(now, (asked?.at ?? Number.NEGATIVE_INFINITY) + LEAST_BETWEEN_MS);
    if (lease === undefined || at - now > LONGEST_TURN_MS || whyNot(memberOf(lease)) !== undefined) {
      return Promise.resolve(undefined);
    }
    const answer = delay(at - now)
      .then(() => askHistory(memberOf(lease), askerNow()))
      .catch(() => undefined);
    asked = { at, subnet, answer };
    return answer;
  }

  return {
    overview,
    historyOf,
    async survey() {
      const first = await look();
      return (await lookAgain(first)) ? look() : first;
    },
    stop() {
      answers.stop();
      server?.close();
    },
  };
}

const TOO_MANY = `a page asks ${MOST_NODES} nodes at most`;
/** How long somebody who looks waits for his turn. */
const LONGEST_TURN_MS = 3000;
/** How long one history serves all who want it, and how soon that of another node is asked for. */
const SHARED_MS = 5000;
const LEAST_BETWEEN_MS = 200;

/** How long others may take to know a node that this one has just come to know. */
const NEW_MS = 10_000;

/** Since when each node is known, as far as anybody has looked. */
function createSightings(): { note(present: Iterable<string>): (subnet: string) => boolean } {
  let since = new Map<string, number>();
  return {
    note(present) {
      const now = performance.now();
      since = new Map([...present].map((subnet) => [subnet, since.get(subnet) ?? now]));
      return (subnet) => now - (since.get(subnet) ?? Number.NEGATIVE_INFINITY) < NEW_MS;
    },
  };
}

/** Of leases with one address the most specific counts, as on the packets' way. */
function byOverlayAddress(
  leases: readonly Lease[],
  overlayAddressOf: ClusterOptions['overlayAddressOf'],
): Map<Ipv4, Lease> {
  const found = new Map<Ipv4, Lease>();
  for (const lease of leases) {
    const address = overlayAddressOf(lease.subnet);
    if (address === undefined) continue;
    if (lease.subnet.prefixLength > (found.get(address)?.subnet.prefixLength ?? -1)) found.set(address, lease);
  }
  return found;
}

/** For the own lease. */
export const nodeKeyOf = (key: KeyObject | undefined) => key && publicKeyOf(key);
