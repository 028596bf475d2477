import { afterAll, beforeAll, expect, it } from 'vitest';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import type { LabState } from '../../src/lab/state.js';
import { describeWith } from '../helpers/requires.js';
import { ping, reaches, transfer } from './traffic.js';

const NAME = 'test-traffic';
const GIGABYTE = 1 << 30;

describeWith(['root', 'tun', 'etcd'], 'traffic between two nodes', () => {
  let lab: LabState;
  /** Addresses of the second node's container, its docker0, and its own overlay address. */
  let containers: string[];
  let overlay: string[];

  beforeAll(async () => {
    lab = await labUp({ name: NAME, nodes: 2 });
    containers = labStatus(lab).map((row) => row.containerAddress);
    overlay = labStatus(lab).map((row) => row.subnet.replace(/\.1\/24$/, '.0'));
  });
  afterAll(() => labDown(NAME));

  it('answers pings in all directions, host and container', async () => {
    for (const [i, j] of [
      [0, 1],
      [1, 0],
    ]) {
      for (const from of [`n${i + 1}`, `c${i + 1}`]) {
        for (const to of [containers[j], overlay[j], overlay[j].replace(/0$/, '1')]) {
          expect(await reaches(lab, from, to), `${from} to ${to}`).toBe(true);
        }
      }
    }
  });

  it.each([
    'tcp',
    'udp',
  ] as const)('carries %s in all directions, and the receiver sees the sender itself', async (protocol) => {
    for (const [i, j] of [
      [0, 1],
      [1, 0],
    ]) {
      for (const [from, fromAddress] of [
        [`n${i + 1}`, overlay[i]],
        [`c${i + 1}`, containers[i]],
      ]) {
        for (const [to, toAddress] of [
          [`n${j + 1}`, overlay[j]],
          [`c${j + 1}`, containers[j]],
        ]) {
          for (const bytes of [1, protocol === 'udp' ? 1444 : 100_000]) {
            const { sent, received } = await transfer(lab, protocol, from, to, toAddress, bytes);
            expect(received, `${from} to ${to}`).toEqual({ bytes, sha256: sent.sha256, from: fromAddress });
            if (protocol === 'udp') expect(sent.echoed).toBe(sent.sha256);
          }
        }
      }
    }
  });

  it('carries packets of exactly the MTU unfragmented, and larger ones as inner fragments', async () => {
    await ping(lab, 'c1', containers[1], '-M', 'do', '-s', String(1472 - 28));
    await expect(ping(lab, 'c1', containers[1], '-M', 'do', '-s', String(1472 - 27))).rejects.toThrow(
      /message too long|Frag needed/i,
    );
    for (const from of ['n1', 'c1']) {
      const { sent, received } = await transfer(lab, 'udp', from, 'c2', containers[1], 60_000);
      expect(received).toMatchObject({ bytes: 60_000, sha256: sent.sha256 });
      expect(sent.echoed).toBe(sent.sha256);
    }
  });

  it('carries a gigabyte with its checksum intact', { timeout: 180_000 }, async () => {
    const { sent, received } = await transfer(lab, 'tcp', 'c1', 'c2', containers[1], GIGABYTE);
    expect(received).toEqual({ bytes: GIGABYTE, sha256: sent.sha256, from: containers[0] });
  });

  it('tells the sender when there is no route and when the TTL is used up', async () => {
    const noRoute = execIn(lab, 'c1', ['ping', '-n', '-c', '1', '-W', '2', '10.240.250.2']);
    await expect(noRoute).rejects.toThrow(`From ${overlay[0]} icmp_seq=1 Destination Net Unreachable`);
    // docker0 takes the first hop, rudder0 would be the second.
    const tooFar = execIn(lab, 'c1', ['ping', '-n', '-c', '1', '-W', '2', '-t', '2', containers[1]]);
    await expect(tooFar).rejects.toThrow(`From ${overlay[0]} icmp_seq=1 Time to live exceeded`);
    await ping(lab, 'c1', containers[1], '-t', '4');
  });

  it('takes one hop for the overlay: a container is three decrements away from a container', async () => {
    expect(await ping(lab, 'c1', containers[1])).toContain('ttl=61');
  });
});
