import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, DEFAULT_CONFIG, labDown } from '../../src/lab/lab.js';
import { etcdUrl, namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, launchNode, waitUntilReady } from '../../src/lab/nodes.js';
import { type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { type Docker, startEngine } from '../e2e/docker.js';
import { describeWith } from '../helpers/requires.js';
import { makeTree, removeTree } from './machine.js';

const NAME = 'test-dockerfile';
const QUIET_NETWORK = ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-forward=false'];

/** The Dockerfile, on bases made of Debian and this host's Node.js: a test pulls nothing from a hub. */
describeWith(['root', 'tun', 'etcd', 'docker', 'machines'], 'the Dockerfile', () => {
  let lab: LabState;
  let builder: Docker;
  let engine: Docker;
  const trees: string[] = [];

  /** Node.js with npm and headers, at the places of the official image, and what npm has to know of this host. */
  function installNode(tree: string, withNpm: boolean): void {
    const prefix = dirname(dirname(process.execPath));
    const parts = withNpm ? ['lib/node_modules/npm', 'include/node'] : [];
    mkdirSync(`${tree}/usr/local/bin`, { recursive: true });
    copyFileSync(process.execPath, `${tree}/usr/local/bin/node`);
    for (const part of parts) cpSync(`${prefix}/${part}`, `${tree}/usr/local/${part}`, { recursive: true });
  }

  async function importBase(name: string, packages: string[], withNpm: boolean): Promise<void> {
    const tree = await makeTree(name, packages);
    trees.push(tree);
    installNode(tree, withNpm);
    if (withNpm) {
      for (const tool of ['npm', 'npx']) {
        await execa('ln', ['-sf', `../lib/node_modules/npm/bin/${tool}-cli.js`, `${tree}/usr/local/bin/${tool}`]);
      }
      const certificates = process.env.NODE_EXTRA_CA_CERTS;
      if (certificates !== undefined && existsSync(certificates)) {
        mkdirSync(dirname(`${tree}${certificates}`), { recursive: true });
        copyFileSync(certificates, `${tree}${certificates}`);
      }
      copyFileSync('/etc/resolv.conf', `${tree}/etc/resolv.conf`);
    }
    await execa('tar', ['-C', tree, '-cf', `${tree}.tar`, '.']);
    const trust = process.env.NODE_EXTRA_CA_CERTS;
    const change = trust === undefined ? [] : ['--change', `ENV NODE_EXTRA_CA_CERTS=${trust}`];
    await builder.docker('import', ...change, `${tree}.tar`, name);
    await execa('rm', [`${tree}.tar`]);
  }

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: DEFAULT_CONFIG });
    builder = await startEngine(`${labDirectory(NAME)}/builder`, undefined, () => QUIET_NETWORK);
    await importBase('rudder-build-base', ['g++', 'make', 'python3', 'ca-certificates'], true);
    await importBase('rudder-base', ['iptables', 'nftables', 'libstdc++6'], false);
  }, 400_000);
  afterAll(async () => {
    await engine?.stop();
    await builder?.stop();
    await labDown(NAME);
    for (const tree of trees) removeTree(tree);
  }, 120_000);

  it('makes a small image that runs a node', { timeout: 600_000 }, async () => {
    const bases = ['--build-arg=BUILD_IMAGE=rudder-build-base', '--build-arg=BASE_IMAGE=rudder-base'];
    await builder.docker('build', '--network=host', ...bases, '-t', 'rudder', '.');
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
