import { RudderError } from '../core/errors.js';
import { call } from './command.js';
import {
  CHAINS,
  type Chain,
  faultOf,
  isThere,
  type OwnChain,
  removalOf,
  repairOf,
  tablesIn,
} from './firewall-rules.js';

/** How long another program may hold the tables' lock. */
const LOCK_SECONDS = 5;

export interface Change {
  /** Whether anything was not as it should be. */
  readonly changed: boolean;
  /** Whether any of our chains was there before. */
  readonly found: boolean;
  /** All rules as they were found, without counts. */
  readonly saved: string;
}

/** Puts right what is not as it should be. @throws what iptables says */
export function setChains(chains: readonly OwnChain[], signal: AbortSignal): Promise<Change> {
  return change(chains, repairOf, signal);
}

/** Removes our chains, whoever made them. @throws what iptables says */
export async function removeChains(): Promise<boolean> {
  return (await change<Chain>(Object.values(CHAINS), removalOf)).found;
}

/** Looks at all tables and changes what is not as it should be: each table in one step, or not at all. */
async function change<C extends Chain>(
  chains: readonly C[],
  changeOf: (chain: C, saved: string) => string | undefined,
  signal?: AbortSignal,
): Promise<Change> {
  const text = await call('iptables-save', [], { signal });
  const tables = tablesIn(text);
  const savedOf = ({ table }: Chain) => tables.get(table) ?? '';
  const unreadable = unreadableIn(text);
  const readable = chains.filter(({ table }) => !unreadable.includes(table));
  const inputs = readable.flatMap((chain) => changeOf(chain, savedOf(chain)) ?? []);
  if (inputs.length > 0) {
    const options = { input: inputs.join(''), signal };
    await call('iptables-restore', ['--noflush', '--wait', String(LOCK_SECONDS)], options);
  }
  // The others are as they should be nevertheless.
  const hidden = chains.find(({ table }) => unreadable.includes(table));
  if (hidden !== undefined) {
    throw new RudderError(
      'firewall',
      `iptables cannot read table "${hidden.table}": somebody has put rules into it with nft, so nothing of ours is set or removed there; move those into an nft table of their own`,
    );
  }
  const saved = text.replace(/^#.*$|\[\d+:\d+\]/gm, '');
  return { changed: inputs.length > 0, saved, found: chains.some((chain) => isThere(chain, savedOf(chain))) };
}

/** What a look at the tables finds that is not as it should be, in words. @param text output of `iptables-save` */
export function faultsIn(text: string, chains: readonly OwnChain[]): string[] {
  const tables = tablesIn(text);
  const hidden = unreadableIn(text).filter((name) => chains.some(({ table }) => table === name));
  const readable = chains.filter(({ table }) => !hidden.includes(table));
  return [
    ...hidden.map((name) => `iptables cannot read table "${name}": somebody has put rules into it with nft`),
    ...readable.flatMap((chain) => faultOf(chain, tables.get(chain.table) ?? '') ?? []),
  ];
}

/** Tables of which `iptables-save` says, as a comment and with success, that it cannot show them: they look empty. */
export function unreadableIn(saved: string): string[] {
  return [...saved.matchAll(/^# Table [`'"]?(\w+)['"]? is incompatible/gm)].map(([, table]) => table);
}

/** Whether `iptables` keeps its rules in nf_tables, where the kernel numbers changes, and not in its older tables. */
export async function isInNfTables(signal: AbortSignal): Promise<boolean> {
  return (await call('iptables-save', ['--version'], { signal })).includes('(nf_tables)');
}
