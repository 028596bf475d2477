import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { workerCollections } from '../../src/lab/garbage.js';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-garbage';
const WARM_UP_SECONDS = 5;
const SECONDS = 30;

describeWith(['root', 'tun', 'etcd', 'iperf3'], 'the packet path', () => {
  afterEach(() => labDown(NAME));

  it('makes no garbage: 30 s of traffic without one collection in the worker', { timeout: 120_000 }, async () => {
    // A small young generation: what took one allocation for each packet would be collected many times a second.
    const nodeArguments = ['--trace-gc', '--max-semi-space-size=1'];
    const lab = await labUp({ name: NAME, nodes: 2, daemon: { nodeArguments } });
    const collected = () => lab.nodes.map((node) => workerCollections(lab, node));
    expect(collected(), 'the trace is written').not.toContain(undefined);

    const server = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, 'c2')}`, 'iperf3', '--server', '--one-off'], {
      stdio: 'ignore',
    });
    const serverEnded = once(server, 'exit');
    const target = labStatus(lab)[1].containerAddress;
    await execIn(lab, 'c1', ['ping', '-c', '1', '-W', '2', target]);
    const traffic = execIn(lab, 'c1', [
      'iperf3',
      '--client',
      target,
      '--bidir',
      '--time',
      String(WARM_UP_SECONDS + SECONDS),
    ]);
    await delay(WARM_UP_SECONDS * 1000); // the measured time begins when the code is optimised
    const before = collected();
    await traffic;
    await serverEnded;
    expect(collected(), 'collections in the workers').toEqual(before);
  });
});
