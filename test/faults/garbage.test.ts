import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import { workerCollections } from '../../src/lab/garbage.js';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { type Member, namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-garbage';
const WARM_UP_SECONDS = 5;
const SECONDS = 30;
/**
 * V8 itself allocates when it compiles code anew after something rare has happened for the first time, and that may be
 * what fills the young generation. It cannot do so again and again.
 */
const WINDOWS = 3;

describeWith(['root', 'tun', 'etcd', 'iperf3'], 'the packet path', () => {
  afterEach(() => labDown(NAME));

  it('makes no garbage: 30 s of traffic without one collection in the worker', { timeout: 180_000 }, async () => {
    // A small young generation: what took one allocation for each packet would be collected many times a second.
    const nodeArguments = ['--trace-gc', '--max-semi-space-size=1'];
    const lab = await labUp({ name: NAME, nodes: 2, daemon: { nodeArguments } });
    const collected = () => lab.nodes.map((node) => workerCollections(lab, node));
    expect(collected(), 'the trace is written').not.toContain(undefined);

    const iperf = (member: Member, ...options: string[]) =>
      spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, member)}`, 'iperf3', ...options], { stdio: 'ignore' });
    const server = iperf('c2', '--server', '--one-off');
    const target = labStatus(lab)[1].containerAddress;
    await execIn(lab, 'c1', ['ping', '-c', '1', '-W', '2', target]);
    const client = iperf(
      'c1',
      '--client',
      target,
      '--bidir',
      '--time',
      String(WARM_UP_SECONDS + WINDOWS * SECONDS + 5),
    );
    const ended = Promise.all([once(server, 'exit'), once(client, 'exit')]);
    await delay(WARM_UP_SECONDS * 1000); // the measured time begins when the code is optimised
    const windows: number[][] = [];
    do {
      const before = collected();
      await delay(SECONDS * 1000);
      expect(client.exitCode, 'the traffic goes on').toBe(null);
      windows.push(collected().map((count, i) => count! - before[i]!));
    } while (windows.length < WINDOWS && !isDeepStrictEqual(windows.at(-1), [0, 0]));
    client.kill();
    await ended;
    expect(windows.at(-1), `collections in the workers, in each ${SECONDS} s: ${JSON.stringify(windows)}`).toEqual([
      0, 0,
    ]);
  });
});
