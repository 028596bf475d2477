import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { describeChain, foreignChains } from './foreign-chains.js';
import { createForwardingJudge, type ForwardingVerdict, type Passage } from './forwarding.js';
import type { NftTable } from './nft-table.js';

/** How long a question waits for nft to answer. */
const PATIENCE_MS = 1000;

export interface Forwarding extends ForwardingVerdict {
  /** Somebody else's chains that may be why packets do not pass; asked for only when they do not. */
  readonly suspects: readonly string[];
  /**
   * Dropped since the start: datagrams that claimed to come from a member, datagrams of our VXLAN from hosts that are no
   * members, and datagrams of others on this host to a member's tunnel port.
   */
  readonly forged: number;
  readonly strangers: number;
  readonly forwarded: number;
}

/** Judges whether packets of containers pass this host by what our table has counted, and tells when they do not. */
export interface ForwardingWatch {
  /** Undefined: nobody knows. */
  now(): Promise<Forwarding | undefined>;
  /** Somebody has changed rules: what passed says nothing about them. @throws if the table is not there */
  forget(): Promise<void>;
}

export function watchForwarding(table: Pick<NftTable, 'counters'>, log: Logger): ForwardingWatch {
  const judge = createForwardingJudge();
  const limit = createRepeatLimit();
  let told: Passage[] = [];
  let suspects: readonly string[] = [];
  let verdict: Forwarding | undefined;

  async function judgeNow(): Promise<Forwarding | undefined> {
    const counts = await table.counters().catch(() => undefined);
    if (counts === undefined) return undefined;
    const judged = judge.judge(counts, performance.now());
    await tell(judged);
    const { dropped_forged: forged, dropped_stranger: strangers, dropped_foreign: forwarded } = counts;
    return { ...judged, suspects, forged, strangers, forwarded };
  }

  async function tell({ out, in: inward }: ForwardingVerdict): Promise<void> {
    if (out === told[0] && inward === told[1]) return;
    told = [out, inward];
    suspects = [];
    if (![out, inward].some(isBad)) return;
    const found = await foreignChains();
    suspects = found.filter(({ hook }) => hook !== 'input' && hook !== 'output').map(describeChain);
    limit((suppressed) =>
      log.warn(
        { out, in: inward, suspects, suppressed },
        'packets between containers do not pass this host as they should: see docs/firewalls.md',
      ),
    );
  }

  return {
    /** Whoever asks for the node's health is not kept waiting by a slow nft: the last verdict is as good for a while. */
    async now() {
      const patience = new AbortController();
      const late = delay(PATIENCE_MS, undefined, { signal: patience.signal }).catch(() => undefined);
      const fresh = judgeNow().then((judged) => {
        verdict = judged;
      });
      await Promise.race([fresh, late]);
      patience.abort();
      return verdict;
    },
    forget: async () => judge.forget(await table.counters()),
  };
}

const isBad = (passage: Passage) => passage === 'dropped' || passage === 'translated';
