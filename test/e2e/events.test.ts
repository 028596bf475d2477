import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { NodeEvent } from '../../src/core/event.js';
import { eventFileIn, readEvents } from '../../src/events/event-file.js';
import { act, createLab, labDown } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import { daemonCommand, launchNode, nodePaths, startNode, stopNode, waitUntilReady } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { cli } from './cli.js';

const NAME = 'test-events';

/** docs/events.md: what happened on a node, told by the node, and after a restart too. */
describeWith(['root', 'tun', 'etcd'], 'the events of a node', () => {
  let lab: LabState;
  let [first, second]: LabNode[] = [];
  let follower: ChildProcess;
  let followed = '';

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: '{"Network":"10.240.0.0/16"}', daemon: { leaseTtl: '1h' } });
    [first, second] = lab.nodes;
    await startNode(lab, first);
    const [program, ...words] = daemonCommand(lab, first);
    follower = spawn(program, [...words, 'events', '--follow', '--json', '--kind', 'node']);
    follower.stdout!.on('data', (text) => {
      followed += text;
    });
  });
  afterAll(async () => {
    follower.kill('SIGKILL');
    await labDown(NAME);
  });

  async function events(...args: string[]): Promise<NodeEvent[]> {
    return JSON.parse((await cli(lab, first, 'events', '--json', ...args)).stdout);
  }
  const has = (kind: string, subject?: string) =>
    waitFor(
      `${kind} ${subject ?? ''}`,
      async () => (await events()).find((event) => event.kind === kind && (!subject || event.subject === subject)),
      15_000,
    );

  it('tell of the start, of peers that come and fall silent, of a device that is deleted', async () => {
    expect((await events()).map(({ kind }) => kind)).toEqual(['node.starting', 'lease.taken', 'node.ready']);
    await startNode(lab, second);
    expect((await has('peer.added', 'n2')).fields).toMatchObject({ subnet: expect.stringMatching(/^10\.240\./) });
    await execIn(lab, 'n1', ['ip', 'link', 'del', 'rudder0']);
    await has('device.repaired');
    await act(lab, 'n2', 'kill');
    await has('peer.silent', 'n2');
  });

  it('tell that etcd was lost, and is back', async () => {
    await act(lab, 'etcd', 'stop');
    expect((await has('registry.lost')).line).toContain('lease watch interrupted: ');
    await act(lab, 'etcd', 'start');
    await has('registry.back');
  });

  it('are kept over restarts, in the order in which they happened, and read without a daemon', async () => {
    const before = await events();
    const saved = () => readEvents(eventFileIn(nodePaths(lab, first).stateDir));
    await waitFor('all to be saved', async () => (await saved()).at(-1)?.id === before.at(-1)!.id, 5000);
    await act(lab, 'n1', 'kill');
    await waitFor(
      'nobody to answer',
      async () => /no daemon runs/.test((await cli(lab, first, 'events')).stderr),
      5000,
    );
    expect(await events()).toEqual(before);
    await launchNode(lab, first);
    await waitUntilReady(lab, first);
    const kinds = (await events()).map(({ kind }) => kind);
    expect(kinds.slice(before.length)).toEqual(['node.starting', 'node.ready']);
    expect((await events('--kind', 'node.starting')).at(-1)!.line).toContain('the run before was killed');
    await stopNode(lab, first);
    expect((await events('--kind', 'node')).at(-1)!.kind).toBe('node.stopped');
  });

  it('are followed over restarts, each once, until that is interrupted', async () => {
    await startNode(lab, first);
    const kindsOf = () =>
      followed
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).kind);
    const expected = [
      ...['node.starting', 'node.ready'],
      ...['node.starting', 'node.ready', 'node.stopped'],
      ...['node.starting', 'node.ready'],
    ];
    await waitFor('all of them', () => kindsOf().length >= expected.length, 10_000);
    expect(kindsOf()).toEqual(expected);
    const ended = once(follower, 'exit');
    follower.kill('SIGINT');
    expect(await ended).toEqual([0, null]);
  });
});
