import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, DEFAULT_CONFIG, labDown } from '../../src/lab/lab.js';
import { etcdUrl, namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, waitUntilReady } from '../../src/lab/nodes.js';
import { type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { type Docker, startEngine } from '../e2e/docker.js';
import { describeWith } from '../helpers/requires.js';
import { buildImage, QUIET_NETWORK } from './image.js';
import { removeTree } from './machine.js';

const NAME = 'test-dockerfile';

describeWith(['root', 'tun', 'etcd', 'docker', 'machines'], 'the Dockerfile', () => {
  let lab: LabState;
  let builder: Docker;
  let engine: Docker;
  let trees: string[] = [];

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: DEFAULT_CONFIG });
    builder = await startEngine(`${labDirectory(NAME)}/builder`, undefined, () => QUIET_NETWORK);
  });
  afterAll(async () => {
    await engine?.stop();
    await builder?.stop();
    await labDown(NAME);
    for (const tree of trees) removeTree(tree);
  }, 120_000);

  it('makes a small image that runs a node', { timeout: 900_000 }, async () => {
    trees = await buildImage(builder, 'rudder');
    const size = async (image: string) => Number(await builder.docker('image', 'inspect', '-f', '{{.Size}}', image));
    expect((await size('rudder')) - (await size('rudder-base'))).toBeLessThan(60e6);
    expect(await builder.docker('run', '--rm', '--network=none', 'rudder', '--version')).toMatch(/^\d+\.\d+\.\d+$/);

    // Into an engine of the second node, whose network is what "--network host" means there.
    const directory = `${labDirectory(NAME)}/image`;
    await builder.docker('save', '-o', `${directory}.tar`, 'rudder');
    engine = await startEngine(directory, namespaceOf(lab, 'n2'), () => QUIET_NETWORK);
    await engine.docker('load', '-i', `${directory}.tar`);
    const rights = ['--cap-drop=ALL', '--cap-add=NET_ADMIN', '--cap-add=NET_RAW', '--device=/dev/net/tun'];
    const volumes = [`--volume=${directory}/run:/run/rudder`, `--volume=${directory}/lib:/var/lib/rudder`];
    const command = ['run', '-d', '--name=node', '--network=host', ...rights, ...volumes, '--health-interval=1s'];
    await engine.docker(...command, 'rudder', `--etcd-endpoints=${etcdUrl(lab)}`);
    await waitFor(
      'the container to be healthy',
      async () => (await engine.docker('inspect', '-f', '{{.State.Health.Status}}', 'node')) === 'healthy',
      60_000,
    );
    await launchNode(lab, lab.nodes[0]);
    await waitUntilReady(lab, lab.nodes[0]);
    await addContainer(lab, lab.nodes[0]);
    const own = /RUDDER_SUBNET=(\d+\.\d+\.\d+)\./.exec(readFileSync(`${directory}/run/subnet.env`, 'utf8'))![1];
    await waitFor(
      'a container of another node to reach it',
      () => execIn(lab, 'c1', ['ping', '-c', '1', '-W', '2', `${own}.0`]),
      20_000,
    );
    await engine.docker('stop', 'node');
    expect(await engine.docker('inspect', '-f', '{{.State.ExitCode}}', 'node')).toBe('0');
  });
});
