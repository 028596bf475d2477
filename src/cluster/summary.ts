import { z } from 'zod';
import { shorten } from '../core/errors.js';
import type { Status } from '../ops/status.js';

/** What a node tells the others of itself: how it sees each of them. Ages are in seconds. */
export interface Summary {
  readonly host: string | null;
  readonly version: string;
  readonly ready: boolean;
  /** Undefined, as all that is optional here: it runs an earlier version. */
  readonly about?: About | undefined;
  readonly peers: readonly PeerView[];
}

/** What others show of a node beside its peers. */
export interface About {
  readonly uptimeSeconds: number;
  readonly backend: string;
  readonly mtu: number;
  /** Of the lease; null: a reservation, which never runs out. */
  readonly leaseSeconds: number | null;
  readonly config: string;
  /** Why the rules are not kept; null: they are, or are left alone. */
  readonly firewallProblem: string | null;
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

export interface PeerView {
  readonly subnet: string;
  /** Since anything came from it; null: never. */
  readonly heardSeconds: number | null;
  /** Since it answered a probe; null: never. */
  readonly answeredSeconds: number | null;
  /** Probes without an answer since then. */
  readonly misses: number;
  readonly rttMs: number | null;
  /** Why nothing can be sent to it; null: something can. */
  readonly obstacle: string | null;
  /** Traffic with it since the start; null: nobody counts it. */
  readonly outBytes?: number | null | undefined;
  readonly inBytes?: number | null | undefined;
}

/** The first of them, cut: who reads them has a bound. */
export function aboutOf({
  uptimeSeconds,
  backend,
  device,
  lease,
  config,
  firewall,
  problems,
  warnings,
}: Status): About {
  const some = (texts: readonly string[]) => texts.slice(0, MOST_TEXTS).map((text) => shorten(text, LONGEST_TEXT));
  return {
    uptimeSeconds,
    backend: backend.type,
    mtu: device.mtu,
    leaseSeconds: lease.remainingSeconds,
    config: config.state,
    firewallProblem: firewall.problem === null ? null : shorten(firewall.problem, LONGEST_TEXT),
    problems: some(problems),
    warnings: some(warnings),
  };
}

const MOST_TEXTS = 10;
const LONGEST_TEXT = 500;

const age = z.number().min(0).nullable();
const text = (most: number) => z.string().max(most);
const bytes = z.number().min(0).nullable().optional();
const texts = z.array(text(LONGEST_TEXT)).max(MOST_TEXTS);

/** Another node may run another version, or be broken into. */
export const summarySchema = z.object({
  host: text(253).nullable(),
  version: text(60),
  ready: z.boolean(),
  about: z
    .object({
      uptimeSeconds: z.number().min(0),
      backend: text(40),
      mtu: z.number(),
      leaseSeconds: z.number().nullable(),
      config: text(40),
      firewallProblem: text(LONGEST_TEXT).nullable(),
      problems: texts,
      warnings: texts,
    })
    .optional(),
  peers: z
    .array(
      z.object({
        subnet: text(18),
        heardSeconds: age,
        answeredSeconds: age,
        misses: z.number().min(0),
        rttMs: age,
        obstacle: text(500).nullable(),
        outBytes: bytes,
        inBytes: bytes,
      }),
    )
    .max(70_000),
});
