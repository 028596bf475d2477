import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { namespaceOf, nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { startNode, stopNode } from '../../src/lab/nodes.js';
import { isRunning } from '../../src/lab/process.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { ip } from '../helpers/path.js';
import { describeWith } from '../helpers/requires.js';
import { tcpPacket, udpPacket } from '../helpers/super-packets.js';
import { ping, transfer } from './traffic.js';

const NAME = 'test-hostile';
const PORT = 8285;
const SENDER = fileURLToPath(new URL('./datagrams.mjs', import.meta.url));

interface Datagram {
  readonly bytes: Uint8Array;
  /** 0: not a train. */
  readonly segment?: number;
  readonly times?: number;
}

/** One of `name`'s counters in a member's /proc/net/snmp. */
async function snmp(lab: LabState, member: string, protocol: string, name: string): Promise<number> {
  const lines = (await execIn(lab, member, ['cat', '/proc/net/snmp'])).split('\n');
  const [names, values] = lines.filter((line) => line.startsWith(`${protocol}: `)).map((line) => line.split(' '));
  return Number(values[names.indexOf(name)]);
}

describeWith(['root', 'tun', 'etcd'], 'a node whose peer sends what it should not', () => {
  let lab: LabState;
  /** Containers behind the node under test (n1) and behind the peer (n2). */
  let target: string;
  let way: { source: number; destination: number };

  beforeEach(async () => {
    lab = await labUp({ name: NAME, nodes: 2, daemon: { leaseTtl: '1h', arguments: ['--no-probes=true'] } });
    const [own, peer] = labStatus(lab).map((row) => row.containerAddress);
    target = own;
    way = { source: ip(peer), destination: ip(own) };
    // Its lease stays, so what comes from its address is a member's.
    await stopNode(lab, lab.nodes[1]);
  });
  afterEach(() => labDown(NAME));

  async function send(...datagrams: Datagram[]): Promise<void> {
    const list = datagrams.map(({ bytes, segment = 0, times = 1 }) => ({
      bytes: Buffer.from(bytes).toString('base64'),
      segment,
      times,
    }));
    const [to, from] = lab.nodes.map((node) => nodeAddress(lab, node));
    await execIn(lab, 'n2', [process.execPath, SENDER, from, `${PORT}`, to], JSON.stringify(list));
  }

  /** The texts that a program in n1's container receives, once it has all of `count`. */
  async function receiveWhile(count: number, work: () => Promise<void>): Promise<string[]> {
    const code = `const s = require('dgram').createSocket('udp4'); s.on('message', (m) => console.log(m.toString()));
      s.bind(5001, () => console.log('listening'));`;
    const receiver = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, 'c1')}`, process.execPath, '-e', code]);
    try {
      const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
      await lines.next();
      await work();
      const received: string[] = [];
      while (received.length < count) received.push((await lines.next()).value);
      return received;
    } finally {
      receiver.kill('SIGKILL');
      await once(receiver, 'exit');
    }
  }

  const text = (value: string) => udpPacket({ ...way, payload: Buffer.from(value) });
  const damaged = (packet: Uint8Array) => {
    packet[packet.length - 1] ^= 0x10;
    return packet;
  };
  const joined = (...packets: Uint8Array[]) => new Uint8Array(Buffer.concat(packets));

  /** Still there, and still carrying packets. */
  async function carries(): Promise<void> {
    expect(await receiveWhile(1, () => send({ bytes: text('good') }))).toEqual(['good']);
    expect(isRunning(lab.nodes[0].process!)).toBe(true);
  }

  it('delivers a bad inner checksum as bad as it came, between good packets of one train', async () => {
    const train = [text('one'), text('two'), damaged(text('bad')), text('ten')];
    const size = train[0].length;
    const received = await receiveWhile(3, () => send({ bytes: joined(...train), segment: size }));
    expect(received).toEqual(['one', 'two', 'ten']);
    await waitFor(
      'the container to see the bad one',
      async () => (await snmp(lab, 'c1', 'Udp', 'InCsumErrors')) === 1,
      5000,
    );

    const tcp = (i: number) => tcpPacket({ ...way, sequence: 1000 + i * 10, payload: new Uint8Array(10).fill(i) });
    const flow = [tcp(0), damaged(tcp(1)), tcp(2)];
    await send({ bytes: joined(...flow), segment: flow[0].length });
    await waitFor('the container to see it', async () => (await snmp(lab, 'c1', 'Tcp', 'InCsumErrors')) === 1, 5000);
  });

  it('survives trains of mixed sizes, cut off in the middle, and of garbage', async () => {
    const garbage = Uint8Array.from({ length: 60_000 }, (_, i) => (i * 7919) >> 3);
    const packet = text('x'.repeat(1000));
    const mixed = joined(packet, text('short'), packet);
    for (const segment of [1, 7, 20, 28, 999, 1027, 1029, 1472]) {
      // The kernel makes trains of at most 64 packets.
      const longest = Math.min(60_000, segment * 60);
      await send(
        { bytes: mixed.subarray(0, longest), segment },
        { bytes: packet.subarray(0, Math.min(500, longest)), segment: Math.min(segment, 400) },
        { bytes: garbage.subarray(0, longest), segment, times: 50 },
      );
    }
    await carries();
  });

  it('survives datagrams of every size up to the largest', async () => {
    const sizes = [1, 19, 20, 21, 27, 28, 29, 1472, 1473, 9000, 65_506, 65_507];
    const whole = (size: number) => (size < 28 ? new Uint8Array(size).fill(0x45) : text('x'.repeat(size - 28)));
    await send(...sizes.map((size) => ({ bytes: whole(size), times: 20 })));
    await send(...sizes.map((size) => ({ bytes: new Uint8Array(size).fill(0x45), times: 20 })));
    await carries();
  });

  it('goes on when the underlay carries no train of that size any more', async () => {
    await startNode(lab, lab.nodes[1]);
    const peer = labStatus(lab)[1].containerAddress;
    await ping(lab, 'c1', peer);
    // Trains are of 1472 bytes and their headers; now 1300 fit. A train is refused, its packets go as fragments.
    for (const member of ['n1', 'n2']) await execIn(lab, member, ['ip', 'link', 'set', 'eth0', 'mtu', '1300']);
    for (const [from, to, address] of [
      ['c1', 'c2', peer],
      ['c2', 'c1', target],
    ]) {
      const small = await transfer(lab, 'tcp', from, to, address, 3_000_000);
      expect(small.received.sha256).toBe(small.sent.sha256);
    }
    for (const member of ['n1', 'n2']) await execIn(lab, member, ['ip', 'link', 'set', 'eth0', 'mtu', '1500']);
    const after = await transfer(lab, 'tcp', 'c1', 'c2', peer, 20_000_000);
    expect(after.received.sha256).toBe(after.sent.sha256);
  });
});
