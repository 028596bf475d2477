import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterEach, expect, it } from 'vitest';
import { createLab, labDown, labStatus } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, logLines, waitUntilReady } from '../../src/lab/nodes.js';
import { type LabState, labDirectory } from '../../src/lab/state.js';
import { ping, transfer } from '../e2e/traffic.js';
import { headerChecksumIsRight, UDP } from '../helpers/packets.js';
import { describeWith } from '../helpers/requires.js';
import { TCP, transportChecksumIsRight } from '../helpers/super-packets.js';

const NAME = 'test-offloads';
const MTU = 1472;
const OFF = ['--disable-offload=all'];

/** Two nodes, each with its own daemon arguments, and their containers. */
async function pairOf(first: string[], second: string[]): Promise<LabState> {
  const lab = await createLab({ name: NAME, nodes: 2, config: '{"Network":"10.240.0.0/16"}' });
  await launchNode(lab, lab.nodes[0], first);
  await launchNode(lab, lab.nodes[1], second);
  for (const node of lab.nodes) await waitUntilReady(lab, node);
  for (const node of lab.nodes) await addContainer(lab, node);
  return lab;
}

/** The inner packets of a capture: what lies behind Ethernet (14), IPv4 (20) and UDP (8). pcap(5), little endian. */
function innerPackets(file: string): Uint8Array[] {
  const capture = readFileSync(file);
  const packets: Uint8Array[] = [];
  for (let at = 24; at + 16 <= capture.length; ) {
    const length = capture.readUInt32LE(at + 8);
    const udpLength = capture.readUInt16BE(at + 16 + 14 + 20 + 4);
    packets.push(new Uint8Array(capture.subarray(at + 16 + 42, at + 16 + 34 + udpLength)));
    at += 16 + length;
  }
  return packets;
}

describeWith(['root', 'tun', 'etcd', 'tcpdump'], 'offloads', () => {
  afterEach(() => labDown(NAME));

  it.each([
    ['on', 'on', [], []],
    ['on', 'off', [], OFF],
    ['off', 'on', OFF, []],
    ['off', 'off', OFF, OFF],
    ['on', 'on but without io_uring', [], ['--disable-offload=io-uring']],
  ])('%s at one node and %s at the other: TCP, UDP and ICMP arrive intact both ways', async (_, __, first, second) => {
    const lab = await pairOf(first, second);
    const addresses = labStatus(lab).map((row) => row.containerAddress);
    for (const [from, to, address] of [
      ['c1', 'c2', addresses[1]],
      ['c2', 'c1', addresses[0]],
      ['n1', 'c2', addresses[1]],
    ]) {
      const tcp = await transfer(lab, 'tcp', from, to, address, 20_000_000);
      expect(tcp.received).toMatchObject({ bytes: 20_000_000, sha256: tcp.sent.sha256 });
      for (const size of [1, 1444, 9000]) {
        const udp = await transfer(lab, 'udp', from, to, address, size);
        expect(udp.received).toMatchObject({ bytes: size, sha256: udp.sent.sha256 });
        expect(udp.sent.echoed).toBe(udp.sent.sha256);
      }
      await ping(lab, from, address, '-s', '5000');
    }
  });

  it.each([
    ['on', []],
    ['off', OFF],
  ])('%s: every packet on the wire is whole, at most the MTU, and has right checksums', async (_, args) => {
    const lab = await pairOf(args, args);
    // As on a wire: each packet by itself, checksums finished, nothing put together before the capture.
    for (const member of ['n1', 'n2']) {
      await execIn(lab, member, ['ethtool', '-K', 'eth0', 'tso', 'off', 'tx-udp-segmentation', 'off']);
    }
    const file = `${labDirectory(NAME)}/wire.pcap`;
    const command = ['tcpdump', '-nn', '-U', '-i', 'eth0', '-w', file, 'udp', 'port', '8285'];
    const capture = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, 'n2')}`, '--', ...command]);
    await once(createInterface({ input: capture.stderr }), 'line'); // "listening on eth0"
    const target = labStatus(lab)[1].containerAddress;
    await transfer(lab, 'tcp', 'c1', 'c2', target, 3_000_000);
    await transfer(lab, 'tcp', 'n1', 'c2', target, 3_000_000);
    await transfer(lab, 'udp', 'c1', 'c2', target, 9000);
    capture.kill('SIGINT');
    await once(capture, 'exit');

    const packets = innerPackets(file);
    expect(packets.length).toBeGreaterThan(6_000_000 / MTU);
    for (const packet of packets) {
      expect(packet.length).toBeLessThanOrEqual(MTU);
      expect(packet[0] >> 4).toBe(4);
      expect((packet[2] << 8) | packet[3]).toBe(packet.length);
      expect(headerChecksumIsRight(packet)).toBe(true);
      const isFragment = ((packet[6] << 8) & 0x3f00) !== 0 || packet[7] !== 0;
      if (!isFragment && [TCP, UDP].includes(packet[9])) expect(transportChecksumIsRight(packet)).toBe(true);
    }
  });
});

describeWith(['root', 'tun', 'io-uring', 'etcd'], 'all offloads', () => {
  afterEach(() => labDown(NAME));

  it('are in use by default: super-packets cross TUN both ways', async () => {
    const lab = await pairOf([], []);
    const states = logLines(lab, lab.nodes[0]).find((line) => line.msg === 'offloads');
    expect(Object.values(states ?? {}).filter((value) => value === 'on')).toHaveLength(7);
    await transfer(lab, 'tcp', 'c1', 'c2', labStatus(lab)[1].containerAddress, 50_000_000);
    for (const member of ['n1', 'n2']) {
      const [link] = JSON.parse(await execIn(lab, member, ['ip', '-j', '-s', 'link', 'show', 'rudder0']));
      const way = member === 'n1' ? link.stats64.tx : link.stats64.rx;
      // A packet at a time would be 1472 bytes each.
      expect(way.bytes / way.packets, `bytes of each packet at ${member}`).toBeGreaterThan(10_000);
    }
  });
});
