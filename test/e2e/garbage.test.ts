import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { labDown, labStatus, labUp } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { logText } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-garbage';
const WARM_UP_SECONDS = 5;
const SECONDS = 30;

/** How often each isolate (thread) has scavenged, from V8's `[pid:0xisolate] ... Scavenge` lines. */
function scavenges(lab: LabState, node: LabNode): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [, isolate] of logText(lab, node).matchAll(/^\[\d+:(0x[0-9a-f]+)\].*(?:Scavenge|Mark-Compact)/gm)) {
    counts.set(isolate, (counts.get(isolate) ?? 0) + 1);
  }
  return counts;
}

describeWith(['root', 'tun', 'etcd', 'iperf3'], 'the packet path', () => {
  afterEach(() => labDown(NAME));

  it('makes no garbage: 30 s of traffic without one collection in the worker', { timeout: 120_000 }, async () => {
    // A small young generation: what took one allocation for each packet would be collected many times a second.
    const nodeArguments = ['--trace-gc', '--max-semi-space-size=1'];
    const lab = await labUp({ name: NAME, nodes: 2, daemon: { nodeArguments } });
    const [first, second] = lab.nodes;
    // Loading etcd3 makes the main thread collect; the worker's isolate is any other.
    const mainIsolates = lab.nodes.map((node) => [...scavenges(lab, node).keys()][0]);
    expect(mainIsolates.every(Boolean), 'the trace is written').toBe(true);

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
    const before = lab.nodes.map((node) => scavenges(lab, node));
    await traffic;
    await serverEnded;

    for (const [i, node] of [first, second].entries()) {
      const worker = [...scavenges(lab, node)].filter(([isolate]) => isolate !== mainIsolates[i]);
      const during = worker.map(([isolate, count]) => count - (before[i].get(isolate) ?? 0));
      expect(
        during.filter((count) => count > 0),
        `collections in the worker of n${i + 1}`,
      ).toEqual([]);
    }
  });
});
