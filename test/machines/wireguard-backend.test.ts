import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { generateIdentity, privateKeyText } from '../../src/backend/wireguard/protocol/keys.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { exchange } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';
import { type GoPeer, makeHosts, PEER, removeHosts, run, startGoPeer, US } from '../helpers/wireguard/go-peer.js';
import {
  nothingRefused,
  peerChange,
  type SealedNode,
  type SealedNodeSettings,
  startSealedNode,
} from '../helpers/wireguard/sealed-node.js';

const GIGABYTE = 1_000_000_000;
const HOUR_MS = 3_600_000;
const PSK = generateIdentity().publicKey.toString('base64');
const IN_US = ['ip', 'netns', 'exec', US];
const IN_PEER = ['ip', 'netns', 'exec', PEER];

describeWith(['root', 'tun', 'wireguard-go'], 'the WireGuard backend beside wireguard-go', () => {
  const other = generateIdentity();
  const otherKey = other.publicKey.toString('base64');
  let stateDir: string;
  let node: SealedNode;
  let go: GoPeer;

  beforeEach(async () => {
    makeHosts();
    stateDir = mkdtempSync(join(tmpdir(), 'rudder-sealed-'));
    node = await startNode();
    go = await startGo();
    run(US, 'ip address add 10.240.1.1/32 dev lo');
  });
  afterEach(async () => {
    await node.stop();
    await go.stop();
    removeHosts();
    rmSync(stateDir, { recursive: true });
  });

  const startNode = (settings: SealedNodeSettings = {}) =>
    startSealedNode(stateDir, { PSK }, [peerChange('added', otherKey)], settings);
  const startGo = (endpoint?: string) =>
    startGoPeer({ privateKey: privateKeyText(other), peerKey: node.publicKey, presharedKey: PSK, endpoint });

  function pings(size = 56, ...options: string[]): boolean {
    try {
      const [program, ...args] = [...IN_US, 'ping', '-q', '-c', '1', '-W', '2', '-s', String(size), ...options];
      execFileSync(program, [...args, '-I', '10.240.1.0', '10.240.2.1'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  }

  async function pingsMeanwhile(): Promise<boolean> {
    const [program, ...args] = [...IN_US, 'ping', '-q', '-c', '1', '-W', '5', '-I', '10.240.1.0', '10.240.2.1'];
    const [code] = await once(spawn(program, args, { stdio: 'ignore' }), 'exit');
    return code === 0;
  }

  it('carries packets of all sizes, the first one too', async () => {
    for (const size of [56, 0, 1, 15, 16, 17, 1000, 1391, 1392]) expect(pings(size, '-M', 'do'), `${size}`).toBe(true);
    expect(pings(1393, '-M', 'do')).toBe(false);
    const { session, counters, cipher } = await node.report();
    expect(session).toMatchObject({ hasSession: true, endpoint: { port: 51820 } });
    expect(['portable', 'avx2', 'avx512']).toContain(cipher);
    const drops = Object.entries(counters).filter(([name, count]) => name.includes('_drop_') && count > 0);
    expect(drops).toEqual([]);
  });

  it('answers when wireguard-go begins', async () => {
    go.set(`peer ${node.publicKey} endpoint 10.1.1.1:51820`);
    expect(await go.pings()).toBe(true);
    expect(await go.pings(1392)).toBe(true);
  });

  it.each([
    ['with trains', false],
    ['one by one', true],
  ])('carries TCP both ways, %s', async (_, isPlain) => {
    await node.stop();
    node = await startNode({ isPlain });
    run(US, 'ip address add 10.240.1.1/32 dev lo || true');
    for (const [from, to, address] of [
      [IN_US, IN_PEER, '10.240.2.1'],
      [IN_PEER, IN_US, '10.240.1.1'],
    ] as const) {
      if (from === IN_PEER) expect(await waitFor('a session', () => pings(), 5000)).toBe(true);
      const { sent, received } = await exchange(from, to, 'tcp', address, 20_000_000);
      expect(received).toMatchObject({ bytes: 20_000_000, sha256: sent.sha256 });
    }
  });

  it('is heard at once after a crash, though it has nothing to say', async () => {
    expect(pings()).toBe(true);
    // What a crash leaves is as it was kept last.
    await waitFor('what is kept', () => execFileSync('cat', [join(stateDir, 'wireguard-sessions.json')]), 10_000);
    await node.kill();
    node = await startNode();
    await waitFor('an answer', () => go.pings(), 3000);
  });

  it('begins at the same moment as wireguard-go', async () => {
    go.set(`peer ${node.publicKey} endpoint 10.1.1.1:51820`);
    expect(await Promise.all([go.pings(), pingsMeanwhile()])).toEqual([true, true]);
    expect(pings()).toBe(true);
  });

  it('finds out that wireguard-go was restarted in the middle of a flow: after 15 s, and a handshake', {
    timeout: 60_000,
  }, async () => {
    expect(pings()).toBe(true);
    await go.stop();
    // It knows where we are by our handshake alone.
    go = await startGo();
    const start = performance.now();
    await waitFor('an answer', () => pings(56, '-W', '0.2'), 30_000);
    const gap = performance.now() - start;
    expect(gap).toBeGreaterThan(10_000);
    expect(gap).toBeLessThan(22_000);
  });

  it('goes on when its clock was set back, by what it has kept; without that peers wait for the clock', {
    timeout: 60_000,
  }, async () => {
    expect(pings()).toBe(true);
    await node.stop();
    node = await startNode({ clockBehindMs: HOUR_MS });
    expect(await waitFor('an answer', () => pings(), 10_000)).toBe(true);
    await node.stop();
    unlinkSync(join(stateDir, 'wireguard-sessions.json'));
    node = await startNode({ clockBehindMs: HOUR_MS });
    expect(pings()).toBe(false);
    // Whom it cannot call can call it.
    go.set(`peer ${node.publicKey} endpoint 10.1.1.1:51820`);
    await waitFor('an answer', () => go.pings(), 30_000);
    expect(pings()).toBe(true);
  });

  it('carries a gigabyte of TCP each way across many changes of keys', { timeout: 300_000 }, async () => {
    await node.stop();
    node = await startNode({ timing: { rekeyAfterMs: 1500, rekeyTimeoutMs: 500 } });
    run(US, 'ip address add 10.240.1.1/32 dev lo || true');
    expect(pings()).toBe(true);
    for (const [from, to, address] of [
      [IN_US, IN_PEER, '10.240.2.1'],
      [IN_PEER, IN_US, '10.240.1.1'],
    ] as const) {
      const before = (await node.report()).counters.in_handshakes;
      const { sent, received } = await exchange(from, to, 'tcp', address, GIGABYTE);
      expect(received).toMatchObject({ bytes: GIGABYTE, sha256: sent.sha256 });
      expect((await node.report()).counters.in_handshakes - before).toBeGreaterThanOrEqual(2);
    }
    await nothingRefused(node);
  });

  it('follows a peer that moves, and is followed', async () => {
    expect(pings()).toBe(true);
    go.set('listen-port 5555');
    expect(await go.pings()).toBe(true);
    expect((await node.report()).session!.endpoint!.port).toBe(5555);
    expect(pings()).toBe(true);
  });

  it('has another peer at once when a lease has another key, and nothing of the former one', async () => {
    expect(pings()).toBe(true);
    await node.apply(peerChange('changed', generateIdentity().publicKey.toString('base64')));
    expect(pings()).toBe(false);
    expect(await go.pings()).toBe(false);
    await node.apply(peerChange('changed', otherKey));
    expect(pings()).toBe(true);
    await node.apply(peerChange('removed', otherKey));
    expect((await node.report()).session).toBeNull();
  });

  it('has another key after a rotation, by which peers know it from then on', async () => {
    expect(pings()).toBe(true);
    const before = node.publicKey;
    const next = await node.rotate();
    expect(next).not.toBe(before);
    // As each peer does when it sees the lease.
    go.set(`peer ${before} remove`);
    go.set(`peer ${next} allowed-ips 10.240.1.0/24 endpoint 10.1.1.1:51820 preshared-key /dev/stdin`, PSK);
    await waitFor('an answer', () => pings(), 20_000);
    expect(await go.pings()).toBe(true);
  });

  it('drops what is not of the subnet of its peer', async () => {
    expect(pings()).toBe(true);
    run(PEER, `ip address add 10.240.7.1/32 dev lo`);
    const ping = () =>
      execFileSync('ip', ['netns', 'exec', PEER, 'ping', '-c', '1', '-W', '1', '-I', '10.240.7.1', '10.240.1.1']);
    expect(ping).toThrow();
    const { counters } = await node.report();
    expect(counters.in_drop_source).toBe(1);
  });
});
