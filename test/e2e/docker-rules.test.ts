import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab, labDown, labStatus } from '../../src/lab/lab.js';
import { nodeAddress } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, startNode } from '../../src/lab/nodes.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { type Docker, IMAGE, startDocker } from './docker.js';
import { ping, reaches } from './traffic.js';

const NAME = 'test-rules';

/** Everything else about Docker works as without Rudder. n1 has an engine, n2 what the lab has for one. */
describeWith(['root', 'tun', 'etcd', 'iptables', 'nft', 'docker'], "Docker's own rules, beside ours", () => {
  let lab: LabState;
  let engine: Docker;
  let address: string;
  let foreign: string;

  beforeAll(async () => {
    lab = await createLab({ name: NAME, nodes: 2, config: '{"Network":"10.240.0.0/16"}', daemon: { leaseTtl: '1h' } });
    for (const node of lab.nodes) await startNode(lab, node, ['--ip-masq']);
    await addContainer(lab, lab.nodes[1]);
    foreign = labStatus(lab)[1].containerAddress;
    await execIn(lab, 'n1', ['sysctl', '-qw', 'net.ipv4.ip_forward=0']);
    engine = await startDocker(lab, lab.nodes[0], '--userland-proxy=false');
    const httpd = ['/bin/busybox', 'httpd', '-f', '-p', '80', '-h', '/www'];
    await engine.docker('run', '-d', '-p', '8080:80', '--stop-timeout=1', '--name', 'web', IMAGE, ...httpd);
    address = await engine.docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'web');
    // Docker's chain for users may stand before ours, which asks it first anyway.
    const areFirst = async () =>
      (await chain('FORWARD')).find((rule) => rule !== '-j DOCKER-USER') === '-j RUDDER-FORWARD';
    await waitFor('our rules to be first', areFirst, 10_000);
  }, 120_000);

  afterAll(async () => {
    await engine?.docker('rm', '-f', 'web', 'other').catch(() => undefined);
    await engine?.stop();
    await labDown(NAME);
  }, 60_000);

  const chain = async (name: string) =>
    (await execIn(lab, 'n1', ['iptables-save', '-t', 'filter']))
      .split('\n')
      .filter((line) => line.startsWith(`-A ${name} `))
      .map((line) => line.slice(`-A ${name} `.length));
  const inWeb = (...command: string[]) => engine.docker('exec', 'web', '/bin/busybox', ...command);
  const wget = (url: string) => ['timeout', '5', 'wget', '-q', '-O', '-', url];

  it('let a container reach its own published port: hairpin', async () => {
    const host = nodeAddress(lab, lab.nodes[0]);
    // Docker translates it to the bridge's address, so that the answer comes back the same way.
    expect(await inWeb(...wget(`http://${host}:8080/cgi-bin/who`))).toBe(labStatus(lab)[0].subnet.split('/')[0]);
  });

  it('let others reach a published port, through the underlay and through the tunnel', async () => {
    const device = labStatus(lab)[0].subnet.replace(/\.1\/\d+$/, '.0');
    for (const host of [nodeAddress(lab, lab.nodes[0]), device]) {
      const page = await execIn(lab, 'c2', ['busybox', ...wget(`http://${host}:8080/cgi-bin/who`)]);
      expect(page).not.toBe('');
    }
  });

  it("do what the operator has said in DOCKER-USER, for the overlay's packets too", async () => {
    await waitFor(
      'DOCKER-USER to be asked',
      async () => (await chain('RUDDER-FORWARD'))[0] === '-j DOCKER-USER',
      10_000,
    );
    await ping(lab, 'c2', address);
    await execIn(lab, 'n1', ['iptables', '-I', 'DOCKER-USER', '-s', foreign, '-j', 'DROP']);
    expect(await reaches(lab, 'c2', address)).toBe(false);
    await execIn(lab, 'n1', ['iptables', '-D', 'DOCKER-USER', '-s', foreign, '-j', 'DROP']);
    await ping(lab, 'c2', address);
  });

  it('keep networks of Docker apart, also with --ip-masq', async () => {
    await engine.docker('network', 'create', 'apart');
    await engine.docker('run', '-d', '--net', 'apart', '--name', 'other', IMAGE, '/bin/busybox', 'sleep', '1000');
    const other = await engine.docker('inspect', '-f', '{{.NetworkSettings.Networks.apart.IPAddress}}', 'other');
    await expect(inWeb('ping', '-c', '1', '-W', '1', other)).rejects.toThrow();
  });

  /** As Docker 28 has for every container: only its bridge may lead to it. */
  it('of version 28 let in what comes through the tunnel, and nothing else', async () => {
    const raw = ['-t', 'raw', '-A', 'PREROUTING', '-d', `${address}/32`, '!', '-i', 'docker0', '-j', 'DROP'];
    await execIn(lab, 'n1', ['iptables', ...raw]);
    // Ours comes before as soon as that is noticed.
    await waitFor('the overlay to be let in', () => reaches(lab, 'c2', address), 10_000);
    // A host of the underlay that routes straight to the container does not come by the overlay.
    await execIn(lab, 'etcd', ['ip', 'route', 'add', address, 'via', nodeAddress(lab, lab.nodes[0])]);
    expect(await reaches(lab, 'etcd', address)).toBe(false);
  });
});
