import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { Listr } from 'listr2';
import { messageOf } from '../core/errors.js';
import { howToLookInside } from './commands.js';
import { etcdctl } from './etcd.js';
import { act, addNode, createLab, DEFAULT_CONFIG, labDown, labStatus } from './lab.js';
import { containerName, namespaceOf, nodeName } from './names.js';
import { execIn } from './network.js';
import { addContainer, launchNode, logLines, waitUntilReady } from './nodes.js';
import { PAGE_ARGUMENTS, servePage, showInBrowser } from './page.js';
import { pingTime } from './ping.js';
import type { LabNode, LabState } from './state.js';
import { waitFor } from './wait-for.js';

/**
 * `npm run demo`: a cluster of three nodes on this machine, for people to look at.
 * With --keep it stays when the show is over.
 */
const NAME = 'demo';
/** Short, so that the killed node is noticed while somebody watches. */
const LEASE_TTL = '6s';
const THROUGHPUT_SECONDS = 3;

const print = (text: string) => process.stdout.write(`${text}\n`);

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { keep: { type: 'boolean', default: false } } });
  let mayRemove = false;
  let ending: Promise<void> | undefined;
  /** Once, whether by the end of the show, a failure or Ctrl-C. */
  const remove = () => (ending ??= mayRemove ? labDown(NAME) : Promise.resolve());

  let stopping = false;
  // A closed terminal sends SIGHUP and takes no more text: that must not keep the handler from its work.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      print('\nRemoving everything the demo made ...');
      // The second time for what a step under way made while the first looked.
      void remove()
        .then(() => (mayRemove ? labDown(NAME) : undefined))
        .finally(() => process.exit(130));
    });
  }
  try {
    const lab = await startCluster(() => {
      mayRemove = true;
    });
    await showPage(lab);
    await showLeases(lab);
    await showPings(lab);
    await showThroughput(lab);
    await showNodeDying(lab);
    await showNodeJoining(lab);
    if (values.keep) {
      print(`\nThe cluster keeps running.\n${howToLookInside(lab)}`);
      return;
    }
    print('\nRemoving everything the demo made ...');
    await remove();
    print('Done. "npm run demo -- --keep" leaves the cluster running for you to look inside.');
  } catch (error) {
    // A step that fails because everything is being removed: the handler ends the process.
    if (stopping) return;
    await remove();
    throw error;
  }
}

/** @param began called once the lab is ours, and so ours to remove */
async function startCluster(began: () => void): Promise<LabState> {
  let lab!: LabState;
  const each = (work: (node: LabNode) => Promise<void>) => () => Promise.all(lab.nodes.map(work));
  const steps = new Listr(
    [
      {
        title: 'Three nodes in network namespaces, joined by a bridge, and a real etcd',
        task: async () => {
          lab = await createLab({
            name: NAME,
            nodes: 3,
            config: DEFAULT_CONFIG,
            daemon: { leaseTtl: LEASE_TTL, arguments: PAGE_ARGUMENTS },
            progress: began,
          });
        },
      },
      { title: 'A Rudder daemon on each node', task: each((node) => launchNode(lab, node)) },
      { title: 'Each daemon leases a subnet and is ready', task: each((node) => waitUntilReady(lab, node)) },
      {
        title: 'A container behind docker0 on each node, as Docker would set it up',
        task: each((node) => addContainer(lab, node)),
      },
    ],
    { registerSignalListeners: false },
  );
  await steps.run();
  return lab;
}

function heading(text: string): void {
  print(`\n${text}`);
}

function newTable(head: string[]): InstanceType<typeof Table> {
  return new Table({ head, style: { head: [], border: [], compact: true } });
}

async function showPage(lab: LabState): Promise<void> {
  const url = await servePage(lab);
  heading(`The page of the cluster, while it runs: ${url}`);
  showInBrowser(url);
}

async function showLeases(lab: LabState): Promise<void> {
  heading('Who leased what, as it stands in etcd:');
  const text = await etcdctl(lab, 'get', '--prefix', '/coreos.com/network/subnets/');
  const lines = text.split('\n').filter(Boolean);
  const table = newTable(['key', 'PublicIP', 'node', 'container']);
  for (let i = 0; i < lines.length; i += 2) {
    const name = lines[i].split('/').at(-1)!;
    const status = labStatus(lab).find((row) => row.subnet.replace(/\.1\/24$/, '.0-24') === name);
    const { PublicIP } = JSON.parse(lines[i + 1]) as { PublicIP: string };
    table.push([lines[i], PublicIP, status?.node ?? '?', `${status?.container} ${status?.containerAddress}`]);
  }
  print(table.toString());
}

async function showPings(lab: LabState): Promise<void> {
  heading('Ping from each host (n) and container (c) to each other one, round trip in ms, the best of three:');
  const members = labStatus(lab).flatMap((row) => [
    { name: row.node, address: row.subnet.replace(/\.1\/24$/, '.0') },
    { name: row.container, address: row.containerAddress },
  ]);
  const table = newTable(['from \\ to', ...members.map(({ name, address }) => `${name}\n${address}`)]);
  for (const from of members) {
    const times = members.map((to) => (to === from ? '-' : pingTime(lab, from.name, to.address, 3)));
    table.push([from.name, ...(await Promise.all(times))]);
  }
  print(table.toString());
}

interface IperfReport {
  readonly end: { readonly sum_received?: { readonly bits_per_second: number } };
}

async function showThroughput(lab: LabState): Promise<void> {
  const [from, to] = lab.nodes;
  const target = labStatus(lab)[1].containerAddress;
  heading(
    `One TCP flow from container ${containerName(from)} to container ${containerName(to)}, ${THROUGHPUT_SECONDS} s:`,
  );
  const server = spawn('nsenter', [`--net=/run/netns/${namespaceOf(lab, containerName(to))}`, 'iperf3', '--server'], {
    stdio: 'ignore',
  });
  try {
    const client = ['iperf3', '--json', '--client', target, '--time', String(THROUGHPUT_SECONDS)];
    // Until the server listens the report holds an error and no figure.
    const measure = async () => {
      const { end } = JSON.parse(await execIn(lab, containerName(from), client)) as IperfReport;
      return end.sum_received?.bits_per_second;
    };
    const bitsPerSecond = await waitFor('iperf3', measure, 15_000);
    print(`  ${(bitsPerSecond / 1e9).toFixed(2)} Gbit/s`);
  } finally {
    server.kill('SIGKILL');
  }
}

async function showNodeDying(lab: LabState): Promise<void> {
  const [watching, , dying] = lab.nodes;
  const lost = labStatus(lab)[2];
  heading(`Node ${nodeName(dying)} is killed. Its lease of ${LEASE_TTL} runs out, and with it its route:`);
  const killed = performance.now();
  await act(lab, nodeName(dying), 'kill');
  await waitFor(
    'the route to disappear',
    () =>
      logLines(lab, watching).some(
        (line) => line.msg === 'peer removed' && line.subnet === lost.subnet.replace('.1/', '.0/'),
      ),
    30_000,
  );
  const seconds = ((performance.now() - killed) / 1000).toFixed(1);
  print(`  after ${seconds} s ${nodeName(watching)} has no route to ${lost.subnet.replace('.1/', '.0/')} any more`);
  const answer = await execIn(lab, containerName(watching), [
    'ping',
    '-n',
    '-c',
    '1',
    '-W',
    '2',
    lost.containerAddress,
  ]).catch(messageOf);
  print(
    `  ping ${lost.containerAddress} from ${containerName(watching)}: ${/From .*/.exec(answer)?.[0].split(' ---')[0].trim() ?? 'no answer'}`,
  );
}

async function showNodeJoining(lab: LabState): Promise<void> {
  const node = await addNode(lab);
  heading(`A new node ${nodeName(node)} joins:`);
  await launchNode(lab, node);
  await waitUntilReady(lab, node);
  const ready = performance.now();
  await addContainer(lab, node);
  const row = labStatus(lab).at(-1)!;
  await waitFor('an answer', async () => (await pingTime(lab, 'c1', row.containerAddress, 1)) !== 'lost', 10_000);
  const milliseconds = (performance.now() - ready).toFixed(0);
  print(
    `  it leased ${row.subnet.replace('.1/', '.0/')}; its container answers c1 ${milliseconds} ms after the node was ready, container start included`,
  );
}

main().catch((error: unknown) => {
  process.stderr.write(`demo: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
