import type { KeyObject } from 'node:crypto';
import { type Answer, keepAnswers } from '../cluster/answers.js';
import { publicKeyOf } from '../cluster/identity.js';
import { type Overview, type OverviewInput, overviewOf, ownAnswer } from '../cluster/overview.js';
import { serveMembers } from '../cluster/serve.js';
import { aboutOf, type PeerView, type Summary } from '../cluster/summary.js';
import { askSummary, lookAt, type Member, orderProbe, type Survey, survey, whyNotAsked } from '../cluster/survey.js';
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
  /** Each node of this kind has a device with the first address of its subnet. */
  readonly isAtDevice: boolean;
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
  readonly probeNow: (lease: Lease) => Promise<void>;
  readonly log: Logger;
}

/** What nodes tell each other of themselves, over the overlay: nothing else has a way for it. */
export interface Cluster {
  /** How all nodes see each other. Ways that seem to fail are probed once more before that is told. */
  survey(): Promise<Survey>;
  /** How all of it is, for somebody who looks: others are asked from now on for a while. */
  overview(status: Status): Overview;
  stop(): void;
}

/** Ways that are tried again for one survey. */
const MOST_SECOND_LOOKS = 40;

export function keepCluster(options: ClusterOptions): Cluster {
  const { own, host, version, key, isAtDevice, peers, log } = options;
  const canAnswer = key !== undefined && isAtDevice;
  const askerNow = () => (canAnswer ? { address: own.address, key, nodes: peers().length + 1 } : undefined);
  const server = canAnswer ? serveMembers({ address: own.address, key, keyOf, summary, probe, relay, log }) : undefined;

  let indexed: readonly Lease[] = [];
  let byAddress = new Map<Ipv4, Lease>();

  /** Asked at each connection, which may be a stranger's. */
  function keyOf(address: Ipv4): string | undefined {
    const now = peers();
    if (now !== indexed) byAddress = byOverlayAddress(now);
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
      overlayAddress: isAtDevice ? subnet.address : undefined,
      publicKey: nodeKey,
    };
  }

  async function look(): Promise<Survey> {
    const self = { host: host ?? null, subnet: formatSubnet(own), address: formatIpv4(options.publicIp()) };
    return survey({ ...self, summary: await summary() }, peers().map(memberOf), askerNow());
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

  const isOff = key === undefined ? 'this node asks no others: it runs with --no-summary' : undefined;
  const whyNot = (member: Member) => isOff ?? whyNotAsked(member, askerNow());
  const answers = keepAnswers({
    own: formatSubnet(own),
    members: () =>
      canAnswer
        ? peers()
            .map(memberOf)
            .filter((member) => whyNot(member) === undefined)
        : [],
    ask: (member) => lookAt(member, askerNow()),
  });
  const sightings = createSightings();
  let ownBefore: Answer | undefined;

  function overview(status: Status): Overview {
    answers.want();
    ownBefore = ownAnswer(summaryFrom(status), ownBefore);
    const members = new Map(peers().map((lease) => [formatSubnet(lease.subnet), memberOf(lease)]));
    return overviewOf({
      status,
      own: ownBefore,
      answerOf: answers.of,
      whyNotAsked(subnet) {
        const member = members.get(subnet);
        return member && whyNot(member);
      },
      isNew: sightings.note(members.keys()),
      lost: options.lost(),
    });
  }

  return {
    overview,
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

/** Of leases with one first address the most specific counts, as on the packets' way. */
function byOverlayAddress(leases: readonly Lease[]): Map<Ipv4, Lease> {
  const found = new Map<Ipv4, Lease>();
  for (const lease of leases) {
    const { address, prefixLength } = lease.subnet;
    if (prefixLength > (found.get(address)?.subnet.prefixLength ?? -1)) found.set(address, lease);
  }
  return found;
}

/** For the own lease. */
export const nodeKeyOf = (key: KeyObject | undefined) => key && publicKeyOf(key);
