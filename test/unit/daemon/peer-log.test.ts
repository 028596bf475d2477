import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import type { Lease } from '../../../src/core/lease.js';
import { SILENT } from '../../../src/core/logger.js';
import type { PeerState } from '../../../src/core/peer-state.js';
import { createPeerLog } from '../../../src/daemon/peer-log.js';
import { watchPeerHealth } from '../../../src/daemon/peer-watch.js';
import { udp } from '../../helpers/leases.js';

const lease = (number: number, host?: string): Lease => ({
  subnet: parseSubnet(`10.240.${number}.0/24`)!,
  publicIp: parseIpv4(`10.1.1.${number % 250}`)!,
  nodeId: undefined,
  backend: udp(),
  ...(host && { host }),
});

let told: { message: string; fields: Record<string, unknown>; event: string | undefined }[];
const say = (fields: object, message: string, event?: string) =>
  void told.push({ message, fields: fields as Record<string, unknown>, event });
const log = { ...SILENT, info: say, warn: say, error: say };

beforeEach(() => {
  told = [];
  vi.useFakeTimers();
});
afterEach(() => void vi.useRealTimers());

describe('the log of peers', () => {
  const eventsOf = () => told.map(({ event }) => event);

  it('tells each, as an event too; those of the last run are no news at first', () => {
    const peers = createPeerLog(log, [lease(2)]);
    peers.changed([2, 3].map((number) => ({ type: 'added', lease: lease(number) })));
    peers.changed([{ type: 'removed', lease: lease(2) }]);
    peers.changed([{ type: 'added', lease: lease(2) }]);
    expect(told.map(({ message }) => message)).toEqual(['peer added', 'peer added', 'peer removed', 'peer added']);
    expect(eventsOf()).toEqual([undefined, 'peer.added', 'peer.removed', 'peer.added']);
  });

  it('tells each of a flood at level debug, and makes no text of it at others', () => {
    const debug = vi.fn();
    const many = Array.from({ length: 101 }, (_, i) => ({ type: 'added' as const, lease: lease(i) }));
    createPeerLog({ ...log, debug, isLevelEnabled: () => true }, []).changed(many);
    expect(debug).toHaveBeenCalledTimes(101);
    createPeerLog({ ...log, debug }, []).changed(many);
    expect(debug).toHaveBeenCalledTimes(101);
  });

  it('tells a flood in one, and many in turn at a bounded rate', () => {
    const peers = createPeerLog(log, []);
    const many = Array.from({ length: 101 }, (_, i) => ({ type: 'added' as const, lease: lease(i) }));
    peers.changed(many);
    expect(told).toEqual([
      { message: 'peers changed', fields: { added: 101, changed: 0, removed: 0 }, event: 'peer.changed' },
    ]);
    for (const { lease } of many) peers.health(lease, 'silent', null);
    expect(told).toHaveLength(1 + 100);
  });
});

describe('the watch on how peers are', () => {
  it('tells what has become of a peer, and not that all is well', () => {
    let peers: readonly Lease[] = [lease(2, 'n2'), lease(3)];
    const states: Record<string, { state: PeerState; reason: string | null }> = {};
    const healthOf = ({ host = 'n3' }: Lease) => states[host] ?? { state: 'ok', reason: null };
    const watch = watchPeerHealth({ peers: () => peers, healthOf, tell: createPeerLog(log, []).health });
    const becomes = (host: string, state: PeerState, reason: string | null = null) => {
      states[host] = { state, reason };
      vi.advanceTimersByTime(4000);
    };
    becomes('n2', 'unknown');
    becomes('n2', 'ok');
    becomes('n2', 'silent');
    becomes('n2', 'unknown'); // its lease was written anew
    becomes('n2', 'unreachable', 'no route');
    becomes('n2', 'ok');
    becomes('n3', 'silent');
    peers = [lease(2, 'n2')];
    vi.advanceTimersByTime(4000);
    states.n3 = { state: 'ok', reason: null };
    peers = [lease(2, 'n2'), lease(3)];
    vi.advanceTimersByTime(4000);
    watch.stop();
    expect(told.map(({ message, fields, event }) => [message, fields.host ?? fields.subnet, event])).toEqual([
      ['peer is silent', 'n2', 'peer.silent'],
      ['peer is unreachable', 'n2', 'peer.unreachable'],
      ['peer is ok', 'n2', 'peer.ok'],
      ['peer is silent', '10.240.3.0/24', 'peer.silent'],
    ]);
    expect(told[1].fields.reason).toBe('no route');
  });

  it('looks at thousands in turn', () => {
    const peers = Array.from({ length: 1000 }, (_, i) => lease(i % 250, `n${i}`));
    const looked = new Map<string, number>();
    const healthOf = ({ host }: Lease) => {
      looked.set(host!, (looked.get(host!) ?? 0) + 1);
      return { state: 'ok' as const, reason: null };
    };
    const watch = watchPeerHealth({ peers: () => peers, healthOf, tell: () => undefined });
    vi.advanceTimersByTime(2000);
    expect(looked.size).toBe(100);
    vi.advanceTimersByTime(18_000);
    expect(looked.size).toBe(1000);
    expect(new Set(looked.values())).toEqual(new Set([1]));
    watch.stop();
  });
});
