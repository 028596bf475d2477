import { call } from './command.js';
import { REFUSING } from './firewall-rules.js';
import { TABLE } from './nft-rules.js';

/** Somebody else's chain that can keep packets from passing, or change them, whatever our rules say. */
export interface ForeignChain {
  /** As its owner's tool names it: `inet firewalld filter_FORWARD`, or `iptables-legacy filter FORWARD`. */
  readonly name: string;
  /** `prerouting`, `input`, `forward`, `output` or `postrouting`. */
  readonly hook: string;
  /** nft's priority; undefined in the older tables. */
  readonly priority: number | undefined;
  /** What its rules, and those of chains it jumps to, may do: `drop`, `reject`, `masquerade`, ... */
  readonly effects: readonly string[];
}

export const describeChain = ({ name, hook, priority, effects }: ForeignChain) =>
  `${name} (${hook}${priority === undefined ? '' : ` ${priority}`}: ${effects.join(', ')})`;

/** Statements of nft that end or change a packet. */
const EFFECTS = ['drop', 'reject', 'masquerade', 'snat', 'dnat', 'redirect', 'queue'];
/** The same of the older tables' targets. */
const LEGACY_TARGETS: Record<string, string> = {
  DROP: 'drop',
  REJECT: 'reject',
  MASQUERADE: 'masquerade',
  SNAT: 'snat',
  DNAT: 'dnat',
  REDIRECT: 'redirect',
  NFQUEUE: 'queue',
};
/** Chains of iptables-nft in which ours come first, where they are. */
const OURS_FIRST = new Set([
  'ip filter FORWARD',
  'ip filter INPUT',
  'ip filter OUTPUT',
  'ip nat POSTROUTING',
  'ip raw PREROUTING',
]);

/**
 * Chains that are not ours, do not come behind ours, and can drop or translate: of nft, and of whichever iptables is not
 * the one in use. What cannot be asked is not there.
 */
export async function foreignChains(): Promise<ForeignChain[]> {
  const inNfTables = (await call('iptables', ['--version']).catch(() => '')).includes('nf_tables');
  const [ruleset, legacy] = await Promise.all([
    call('nft', ['--json', 'list', 'ruleset']).catch(() => '{"nftables":[]}'),
    inNfTables ? call('iptables-legacy-save', []).catch(() => '') : '',
  ]);
  return [...nftChains(ruleset, inNfTables), ...legacyChains(legacy)];
}

interface NftChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly prio?: number;
  readonly policy?: string;
}

interface NftRule {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly expr: readonly Record<string, unknown>[];
}

/** @param json output of `nft --json list ruleset` */
export function nftChains(json: string, inNfTables: boolean): ForeignChain[] {
  const { nftables } = JSON.parse(json) as { nftables: { chain?: NftChain; rule?: NftRule }[] };
  const rules = new Map<string, NftRule[]>();
  for (const { rule } of nftables) {
    if (rule === undefined) continue;
    const key = `${rule.family} ${rule.table} ${rule.chain}`;
    const others = rules.get(key);
    if (others === undefined) rules.set(key, [rule]);
    else others.push(rule);
  }

  function effectsOf(table: string, chain: string, seen: Set<string>): string[] {
    if (seen.has(chain)) return [];
    seen.add(chain);
    return (rules.get(`${table} ${chain}`) ?? []).flatMap(({ expr }) =>
      expr.flatMap((statement) => {
        const [name] = Object.keys(statement);
        const target = (statement.jump ?? statement.goto) as { target: string } | undefined;
        if (target !== undefined) return effectsOf(table, target.target, seen);
        // Extensions of iptables that nft cannot translate are named alone.
        const extension = LEGACY_TARGETS[(statement.xt as { name?: string } | undefined)?.name ?? ''];
        return EFFECTS.includes(name) ? [name] : (extension ?? []);
      }),
    );
  }

  const targetOf = (rule: NftRule | undefined) =>
    rule?.expr.map((statement) => (statement.jump as { target: string } | undefined)?.target).find(Boolean);

  /** Whether packets meet our chain before the rest of this one. */
  function isOursFirst(table: string, name: string): boolean {
    if (!OURS_FIRST.has(`${table} ${name}`)) return false;
    const targets = (rules.get(`${table} ${name}`) ?? []).map(targetOf);
    return targets.find((target) => target === undefined || !REFUSING.includes(target)) === `RUDDER-${name}`;
  }

  /** What our own chain asks before it accepts: the operator's chains. */
  function askedFirst(table: string, { hook, prio }: NftChain): ForeignChain[] {
    if (table !== 'ip filter' || hook !== 'forward') return [];
    return REFUSING.flatMap((name) => {
      const effects = effectsOf(table, name, new Set());
      if (effects.length === 0) return [];
      return [{ name: `${table} ${name}`, hook: 'forward' as const, priority: prio, effects: [...new Set(effects)] }];
    });
  }

  return nftables.flatMap(({ chain }) => {
    if (chain?.hook === undefined || !['ip', 'inet'].includes(chain.family) || chain.table === TABLE) return [];
    const table = `${chain.family} ${chain.table}`;
    if (inNfTables && isOursFirst(table, chain.name)) return askedFirst(table, chain);
    const effects = new Set(effectsOf(table, chain.name, new Set()));
    if (chain.policy === 'drop') effects.add('drop');
    if (effects.size === 0) return [];
    return [{ name: `${table} ${chain.name}`, hook: chain.hook, priority: chain.prio, effects: [...effects] }];
  });
}

/** @param saved output of `iptables-legacy-save` */
export function legacyChains(saved: string): ForeignChain[] {
  return saved
    .split(/^\*/m)
    .slice(1)
    .flatMap((part) => {
      const [table, ...lines] = part.split('\n');
      return lines.flatMap((line) => {
        const [, chain, policy] = /^:(\S+) (ACCEPT|DROP) /.exec(line) ?? [];
        if (chain === undefined) return [];
        const effects = new Set(legacyEffects(lines, chain, new Set()));
        if (policy === 'DROP') effects.add('drop');
        if (effects.size === 0) return [];
        const name = `iptables-legacy ${table} ${chain}`;
        return [{ name, hook: chain.toLowerCase(), priority: undefined, effects: [...effects] }];
      });
    });
}

function legacyEffects(lines: readonly string[], chain: string, seen: Set<string>): string[] {
  if (seen.has(chain)) return [];
  seen.add(chain);
  return lines.flatMap((line) => {
    if (!line.startsWith(`-A ${chain} `)) return [];
    const target = /\s-[jg] (\S+)/.exec(line)?.[1] ?? '';
    return LEGACY_TARGETS[target] ?? legacyEffects(lines, target, seen);
  });
}
