import { messageOf } from '../core/errors.js';
import { inParallel } from '../core/in-parallel.js';
import type { Ipv4 } from '../core/ipv4.js';
import { type Asked, type Asker, ask, NO_KEY, NO_SENSE } from './ask.js';
import { type Curves, curvesSchema, type PeerView, type Summary, summarySchema } from './summary.js';

/** The cluster as its nodes see each other, collected by one of them. The node itself is the first. */
export interface Survey {
  readonly nodes: readonly SurveyedNode[];
  /** Nodes that are not among them, as there are too many. */
  readonly leftOut: number;
}

export interface SurveyedNode {
  readonly host: string | null;
  readonly subnet: string;
  readonly address: string;
  /** Null: it was not asked, or gave no answer. */
  readonly summary: Summary | null;
  /** Why there is no summary. */
  readonly problem: string | null;
}

/** A node to ask, beside what it is called. */
export interface Member extends Omit<SurveyedNode, 'summary' | 'problem'> {
  /** Undefined: none that is known. */
  readonly overlayAddress: Ipv4 | undefined;
  readonly publicKey: string | undefined;
}

/** Each node of a survey says something of each other one: what it takes grows with the square of them. */
export const MOST_NODES = 300;
/** The node that asks is one of them. */
export const MOST_ASKED = MOST_NODES - 1;
/** Asked at once. */
const PARALLEL = 32;

/** @param asker undefined: this node asks nobody */
export async function survey(
  own: Omit<SurveyedNode, 'problem'>,
  all: readonly Member[],
  asker: Asker | undefined,
): Promise<Survey> {
  const members = all.slice(0, MOST_ASKED);
  const subnets = new Set([own, ...members].map(({ subnet }) => subnet));
  const among = (node: SurveyedNode): SurveyedNode => {
    const peers = node.summary?.peers.filter(({ subnet }) => subnets.has(subnet)) ?? [];
    return node.summary === null ? node : { ...node, summary: { ...node.summary, peers } };
  };
  const asked = await inParallel(members, PARALLEL, async (member) => among(await lookAt(member, asker)));
  const nodes = [among({ ...own, problem: null }), ...asked];
  const [first, ...others] = await throughOthers(nodes, members, asker);
  others.sort((a, b) => nameOf(a).localeCompare(nameOf(b), 'en', { numeric: true }));
  return { nodes: [first, ...others.map(among)], leftOut: all.length - members.length };
}

/** What a node is called. */
export const nameOf = ({ host, subnet }: Pick<SurveyedNode, 'host' | 'subnet'>) => host ?? subnet;

export async function lookAt(member: Member, asker: Asker | undefined): Promise<SurveyedNode> {
  const { host, subnet, address } = member;
  try {
    const { data: summary } = summarySchema.safeParse(await ask(...toAsk(member, asker), '/summary'));
    if (summary === undefined) throw new Error(NO_SENSE);
    return { host, subnet, address, summary, problem: null };
  } catch (error) {
    return { host, subnet, address, summary: null, problem: messageOf(error) };
  }
}

/** Nodes that are asked through others, and through how many of these each. */
const MOST_RELAYED = 20;
const RELAYS = 3;

/** The way to a node may be broken for us alone: then another one can ask it. */
async function throughOthers(
  nodes: readonly SurveyedNode[],
  members: readonly Member[],
  asker: Asker | undefined,
): Promise<SurveyedNode[]> {
  const reached = nodes.slice(1).filter(({ summary }) => summary !== null);
  const relays = members.filter(({ subnet }) => reached.some((node) => node.subnet === subnet)).slice(0, RELAYS);
  let left = MOST_RELAYED;
  return Promise.all(
    nodes.map(async (node) => {
      if (node.summary !== null || left-- <= 0) return node;
      for (const relay of relays) {
        const answer = ask(...toAsk(relay, asker), `/relay/${node.subnet.replace('/', '-')}`);
        const { data } = summarySchema.safeParse(await answer.catch(() => undefined));
        if (data !== undefined) return { ...node, summary: data, problem: null };
      }
      return node;
    }),
  );
}

/** What a member says of itself, for another one. */
export async function askSummary(member: Member, asker: Asker | undefined): Promise<Summary | undefined> {
  return (await lookAt(member, asker)).summary ?? undefined;
}

/** How a member sees another one, which it probes now. @throws Error in words */
export async function orderProbe(member: Member, asker: Asker | undefined, subnet: string): Promise<PeerView> {
  const answer = await ask(...toAsk(member, asker), `/probe/${subnet.replace('/', '-')}`);
  const { data } = summarySchema.shape.peers.element.safeParse(answer);
  if (data === undefined) throw new Error(NO_SENSE);
  return data;
}

/** What has flowed at a member. @throws Error in words */
export async function askHistory(member: Member, asker: Asker | undefined): Promise<Curves> {
  const { data } = curvesSchema.safeParse(await ask(...toAsk(member, asker), '/history'));
  if (data === undefined) throw new Error(NO_SENSE);
  return data;
}

function toAsk({ overlayAddress, publicKey }: Member, asker: Asker | undefined): [Asker, Asked] {
  if (asker === undefined) throw new Error(NO_ASKER);
  if (overlayAddress === undefined) throw new Error(NO_ADDRESS);
  return [asker, { address: overlayAddress, publicKey }];
}

const NO_ASKER = 'this node asks nobody: it runs with --no-summary, or has no key';
const NO_ADDRESS = 'its backend gives nodes no address to ask at';

/** Why a node is not asked at all; undefined: it may be. */
export function whyNotAsked({ overlayAddress, publicKey }: Member, asker: Asker | undefined): string | undefined {
  if (asker === undefined) return NO_ASKER;
  if (overlayAddress === undefined) return NO_ADDRESS;
  return publicKey === undefined ? NO_KEY : undefined;
}
