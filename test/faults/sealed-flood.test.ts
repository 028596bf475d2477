import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { namespaceOf, nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { logLines } from '../../src/lab/nodes.js';
import { type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { statusOf } from '../e2e/cli.js';
import { ping } from '../e2e/traffic.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-sealed-flood';
const PORT = 51820;
const HOSTILE = 1_000_000;
const A_SECOND = 40_000;
const TTL_SECONDS = 6;
const MEBIBYTE = 2 ** 20;
const SENDER = fileURLToPath(new URL('../helpers/wireguard/hostile.mjs', import.meta.url));

describeWith(['root', 'tun', 'etcd', 'tcpdump'], 'a live node of WireGuard under a flood', () => {
  let lab: LabState;
  beforeEach(async () => {
    const config = '{"Network":"10.240.0.0/16","Backend":{"Type":"wireguard","Implementation":"user"}}';
    // The sender is a member whose host is not kept from it. Every packet is counted: no probes.
    const daemon = { leaseTtl: `${TTL_SECONDS}s`, arguments: ['--no-firewall=true', '--no-probes=true'] };
    lab = await labUp({ name: NAME, nodes: 2, config, daemon });
  });
  afterEach(() => labDown(NAME));

  const counters = async () => (await statusOf(lab, lab.nodes[0])).packetPath!.counters;
  const resident = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${lab.nodes[0].process?.pid}/status`, 'utf8'))?.[1]) * 1024;

  /** The lease of n1 as etcd has it: another one would have another first revision. */
  async function leaseOf(): Promise<{ key: string; create_revision: number; value: string }> {
    const { subnet } = (await statusOf(lab, lab.nodes[0])).node;
    const name = `/coreos.com/network/subnets/${subnet.replace('/', '-')}`;
    return JSON.parse(await etcdctl(lab, 'get', '-w', 'json', name)).kvs[0];
  }

  /** What came to n1 while the work was done: payloads of UDP, of a capture as tcpdump writes it. */
  async function captured(work: () => Promise<unknown>): Promise<Buffer[]> {
    const file = `${labDirectory(NAME)}/genuine.pcap`;
    const filter = ['udp', 'dst', 'port', String(PORT), 'and', 'dst', 'host', nodeAddress(lab, lab.nodes[0])];
    const command = ['tcpdump', '-nn', '-U', '--immediate-mode', '-i', 'eth0', '-w', file, ...filter];
    const dump = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, 'n1')}`, '--', ...command]);
    await once(dump.stderr, 'data');
    await work();
    const count = () => datagramsIn(readFileSync(file)).length;
    let last = 0;
    const isComplete = () => {
      const before = last;
      last = count();
      return last > 2 && last === before;
    };
    await waitFor('the capture', isComplete, 10_000);
    dump.kill('SIGINT');
    await once(dump, 'exit');
    return datagramsIn(readFileSync(file));
  }

  it('delivers none of a million, counts each once, does not grow, and keeps its lease', {
    timeout: 300_000,
  }, async () => {
    const [, containerOf2] = labStatus(lab).map((row) => row.containerAddress);
    const genuine = await captured(async () => {
      for (let i = 0; i < 20; i++) await ping(lab, 'c1', containerOf2, '-s', String(i * 60));
    });
    expect(new Set(genuine.map((bytes) => bytes[0])).size).toBeGreaterThanOrEqual(2); // a handshake, and data
    const lease = await leaseOf();
    const publicKey = JSON.parse(Buffer.from(lease.value, 'base64').toString()).BackendData.PublicKey;
    const before = await counters();
    const rss = resident();

    let least = TTL_SECONDS;
    let isOver = false;
    const watching = (async () => {
      while (!isOver) {
        const status = await statusOf(lab, lab.nodes[0]);
        expect(status.problems).toEqual([]);
        least = Math.min(least, status.lease.remainingSeconds!);
      }
    })();
    const flood = {
      address: nodeAddress(lab, lab.nodes[0]),
      port: PORT,
      publicKey,
      genuine: genuine.map((bytes) => bytes.toString('base64')),
      count: HOSTILE,
      aSecond: A_SECOND,
    };
    const sent = Number(await execIn(lab, 'n2', [process.execPath, SENDER], JSON.stringify(flood)));
    expect(sent).toBe(HOSTILE);

    const since = async () => {
      const now = await counters();
      return Object.fromEntries(
        Object.keys(now)
          .filter((name) => name.startsWith('in_'))
          .map((name) => [name, now[name] - before[name]]),
      );
    };
    const isRefusal = (name: string) => name.startsWith('in_drop_handshake_');
    const sumOf = (all: Record<string, number>, wanted: (name: string) => boolean) =>
      Object.entries(all).reduce((sum, [name, count]) => (wanted(name) ? sum + count : sum), 0);
    const accounted = (all: Record<string, number>) =>
      sumOf(all, (name) => name === 'in_handshakes' || (name.startsWith('in_drop_') && !isRefusal(name)));
    await waitFor('all of it', async () => accounted(await since()) >= HOSTILE, 20_000);
    isOver = true;
    await watching;

    const all = await since();
    // What came to the main thread was counted there once more, by why it was of no effect.
    expect(accounted(all)).toBe(HOSTILE);
    expect(sumOf(all, isRefusal)).toBe(all.in_handshakes);
    expect(all.in_packets).toBe(0);
    for (const reason of ['no_session', 'bad_tag', 'replay', 'bad_mac', 'mailbox_full', 'malformed'])
      expect(all[`in_drop_${reason}`], reason).toBeGreaterThan(HOSTILE / 1000);
    expect(all.in_drop_handshake_under_load).toBeGreaterThan(0);

    // etcd heard of the node in time, all the while.
    expect(least).toBeGreaterThan(TTL_SECONDS / 3);
    expect((await leaseOf()).create_revision).toBe(lease.create_revision);
    expect((await statusOf(lab, lab.nodes[0])).lease.recoveries).toBe(0);
    expect(logLines(lab, lab.nodes[0]).filter(({ level }) => Number(level) >= 50)).toEqual([]);
    expect(resident() - rss).toBeLessThan(32 * MEBIBYTE);
    await ping(lab, 'c1', containerOf2);
  });
});

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
/** Ethernet, IPv4 and UDP. */
const HEADERS_BYTES = 14 + 20 + 8;

function datagramsIn(file: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = FILE_HEADER_BYTES; at + RECORD_HEADER_BYTES <= file.length; ) {
    const length = file.readUInt32LE(at + 8);
    const record = file.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + length);
    if (record.length === length) found.push(Buffer.from(record.subarray(HEADERS_BYTES)));
    at += RECORD_HEADER_BYTES + length;
  }
  return found;
}
