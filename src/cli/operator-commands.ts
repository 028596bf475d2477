import { Argument, type Command, Option } from 'commander';
import type { Ipv4 } from '../core/ipv4.js';
import { LOG_LEVELS } from '../ops/logger.js';
import { type NodeOptions, readNodeOptions, refuseWrong } from './defaults-file.js';
import { heardSubnets } from './heard-subnets.js';
import { useStore } from './node-store.js';
import { parseDuration, parseEventKind, parseNode, parseWholeNumber } from './values.js';

const ETCD_HELP =
  '\nThe --etcd options of rudder apply: see rudder --help. Without them etcd is the one of the running daemon, else\nthat of /etc/default/rudder.\n';
const SOCKET_HELP =
  '\nThe daemon is found by its --subnet-file, given or in /etc/default/rudder, else at /run/rudder/subnet.env.\n';
const EVENTS_HELP =
  '\nThe daemon is found by its --subnet-file, and what it has left by its --state-dir: given, in /etc/default/rudder, else\nby default.\n';
const A_YEAR = 365 * 86_400;
const PUBLISH_HELP =
  '\nGive it the --subnet-file and --subnet-env-prefix that the daemon was given, if not in /etc/default/rudder.\n';
const CLEANUP_HELP =
  '\nGive it the --etcd or --kube options, --subnet-file, --state-dir and --no-firewall that the daemon was given, if not in\n/etc/default/rudder.\n';

/**
 * Commands for those who run nodes. Each loads its code when called. Options of `rudder` itself, such as
 * --etcd-endpoints and --subnet-file, are understood before and after a command's name.
 * @param ended told the exit status
 */
export function addOperatorCommands(program: Command, ended: (status: number) => void): void {
  const node = () => readNodeOptions(program);
  program
    .command('status')
    .description('show what the running daemon says about itself; exits 0 only if it is ready')
    .option('--json', 'for machines', false)
    .addHelpText('after', `${SOCKET_HELP}\nExample:\n  rudder status --json\n`)
    .action(async ({ json }: { json: boolean }) => {
      ended(await (await import('./status.js')).status(node().raw.subnetFile, json));
    });
  program
    .command('peers')
    .description('show every other node by name: how it is, how far, what passes')
    .option('--watch', 'show it anew each second', false)
    .option('--json', 'for machines', false)
    .addHelpText('after', `${SOCKET_HELP}\nExample:\n  rudder peers --watch\n`)
    .action(async ({ json, watch }: { json: boolean; watch: boolean }) => {
      ended(await (await import('./peers.js')).peers(node().raw.subnetFile, json, watch));
    });
  program
    .command('events')
    .description('show what has happened on this node: peers, lease, device, host, config, firewall, registry')
    .option('--follow', 'go on with what happens, until it is interrupted', false)
    .addOption(
      new Option('--since <time>', 'of the last time alone, such as 1h or 7d').argParser(parseDuration(1, A_YEAR)),
    )
    .option('--kind <kind>', 'of one kind alone, such as peer.silent, or of one area, such as peer', parseEventKind)
    .option('--json', 'for machines; with --follow one event on each line', false)
    .addHelpText('after', `${EVENTS_HELP}\nExample:\n  rudder events --follow --kind peer\n`)
    .action(async (options: { follow: boolean; json: boolean; since?: number; kind?: string }) => {
      const { subnetFile, stateDir } = node().raw;
      const { events } = await import('./events.js');
      ended(await events(subnetFile, stateDir, { since: undefined, kind: undefined, ...options }));
    });
  program
    .command('netcheck')
    .description('look at the network under the overlay, to each peer, and at etcd; exits 0 if there is no problem')
    .option('--json', 'for machines', false)
    .addHelpText('after', `${SOCKET_HELP}${ETCD_HELP}\nExample:\n  rudder netcheck\n`)
    .action(async ({ json }: { json: boolean }) => {
      ended(await (await import('./doctor/doctor.js')).netcheck(node(), json));
    });
  program
    .command('ping')
    .description('how far another node is: under the overlay, and through it')
    .argument('<node>', 'its name, address or subnet, as in "rudder peers"')
    .addOption(
      new Option('--count <number>', 'how many echoes on each way').argParser(parseWholeNumber(1, 1000)).default(5),
    )
    .option('--sizes', 'find the largest packet that each way carries', false)
    .option('--json', 'for machines', false)
    .addHelpText('after', `${SOCKET_HELP}\nExample:\n  rudder ping node2 --sizes\n`)
    .action(async (text: string, options: { count: number; sizes: boolean; json: boolean }) => {
      ended(await (await import('./ping.js')).pingNode(node().raw.subnetFile, text, options));
    });
  const connectivity: Command = program
    .command('connectivity')
    .description('whether all nodes reach each other')
    .addHelpText('after', '\nExample:\n  rudder connectivity test\n')
    .action(() => connectivity.help());
  connectivity
    .command('test')
    .description('every way between two nodes, in both directions, asked of the nodes; exits 0 if all work')
    .option('--json', 'for machines', false)
    .addHelpText('after', `${SOCKET_HELP}\nExample:\n  rudder connectivity test\n`)
    .action(async ({ json }: { json: boolean }) => {
      ended(await (await import('./connectivity.js')).testConnectivity(node().raw.subnetFile, json));
    });
  program
    .command('doctor')
    .description('look for what usually goes wrong, and say what to do; exits 0 if there is no problem')
    .option('--json', 'for machines', false)
    .addHelpText('after', `${SOCKET_HELP}${ETCD_HELP}\nExample:\n  rudder doctor\n`)
    .action(async ({ json }: { json: boolean }) => {
      ended(await (await import('./doctor/doctor.js')).doctor(node(), json));
    });
  program
    .command('bugreport')
    .description('write one file with all that helps to find a fault, and no secrets')
    .argument('[file]', 'which is not there yet; else rudder-bugreport-<host>-<time>.txt, here')
    .addHelpText('after', `${SOCKET_HELP}${ETCD_HELP}\nExample:\n  rudder bugreport\n`)
    .action(async (file: string | undefined) => {
      ended(await (await import('./bugreport.js')).bugreport(node(), file));
    });
  program
    .command('log-level')
    .description('change what the running daemon logs, until it ends')
    .addArgument(new Argument('<level>', 'least level that is logged').choices(LOG_LEVELS))
    .addHelpText('after', `${SOCKET_HELP}\nExample:\n  rudder log-level debug\n`)
    .action(async (level: string) => {
      ended(await (await import('./log-level.js')).logLevel(node().raw.subnetFile, level));
    });
  addKeyCommands(program, node, ended);
  program
    .command('cleanup')
    .description('remove device, routes, firewall rules, subnet file and lease that a stopped daemon has left')
    .option('--keep-lease', 'leave lease, or annotations of the Node, for this node or flannel to take up again', false)
    .addHelpText('after', `${CLEANUP_HELP}\nExample:\n  systemctl stop rudder; rudder cleanup\n`)
    .action(async ({ keepLease }: { keepLease: boolean }) => {
      ended(await (await import('./cleanup.js')).cleanup(node(), keepLease));
    });
  program
    .command('publish')
    .description('as root: make the subnet file of what a daemon with --subnet-proposal proposes, if it is right')
    .option('--before-start', "only see to it that there is a subnet file, and that it is right and root's", false)
    .addHelpText('after', `${PUBLISH_HELP}\nExample:\n  rudder publish\n`)
    .action(async ({ beforeStart }: { beforeStart: boolean }) => {
      const { subnetFile, subnetEnvPrefix } = node().raw;
      ended(await (await import('./publish.js')).publish(subnetFile, subnetEnvPrefix, beforeStart));
    });
  addLeaseCommands(program, node, ended);
  addConfigCommands(program, node, ended);
  addDockerCommands(program, node, ended);
}

function addLeaseCommands(program: Command, node: () => NodeOptions, ended: (status: number) => void): void {
  const leases = program
    .command('leases')
    .description('show who holds which subnet')
    .option('--json', 'for machines', false)
    .addHelpText('after', `${ETCD_HELP}\nExample:\n  rudder leases\n`)
    .action(async ({ json }: { json: boolean }) => {
      const found = node();
      const etcd = await useStore(found);
      ended(await (await import('./leases.js')).listLeases(etcd, await heardSubnets(found, etcd), json));
    });
  leases
    .command('reserve')
    .description('keep a subnet for a node, for ever')
    .argument('<subnet>', 'such as 10.240.26.0/24')
    .addOption(
      new Option('--for <node>', "the node's public address, or its name if it has a lease")
        .argParser(parseNode)
        .makeOptionMandatory(),
    )
    .addHelpText('after', `${ETCD_HELP}\nExample:\n  rudder leases reserve 10.240.26.0/24 --for 10.1.1.7\n`)
    .action(async (subnet: string, options: { for: Ipv4 | string }) => {
      ended(await (await import('./leases.js')).reserve(await useStore(node()), subnet, options.for));
    });
  leases
    .command('release')
    .description('give a reservation up; a node that uses it keeps the subnet as an ordinary lease')
    .argument('<subnet>')
    .addHelpText('after', `${ETCD_HELP}\nExample:\n  rudder leases release 10.240.26.0/24\n`)
    .action(async (subnet: string) => {
      const found = node();
      refuseWrong(found, ['leaseTtl']);
      const etcd = await useStore(found);
      const heard = await heardSubnets(found, etcd);
      ended(await (await import('./leases.js')).release(etcd, heard, found.raw.leaseTtl, subnet));
    });
}

function addConfigCommands(program: Command, node: () => NodeOptions, ended: (status: number) => void): void {
  interface Shown {
    json: boolean;
    showSecrets: boolean;
  }
  const config: Command = program
    .command('config')
    .description("show and change the network config, which is the whole cluster's")
    .addHelpText('after', `${ETCD_HELP}\nExample:\n  rudder config set Backend.MTU 1400\n`)
    .action(() => config.help());
  config
    .command('get')
    .description('show what is stored, and what it means')
    .option('--json', 'what is stored alone', false)
    .option('--show-secrets', 'values of keys, secrets, passwords and tokens too', false)
    .addHelpText('after', `${ETCD_HELP}\nExample:\n  rudder config get\n`)
    .action(async (shown: Shown) => {
      const { getConfig, withAdministration } = await import('./config/config.js');
      ended(await withAdministration(await useStore(node()), (...of) => getConfig(of[0], shown, of[1])));
    });
  config
    .command('set')
    .description('change it: prints what that does to whom, and refuses what would take subnets from nodes')
    .argument('<key>', 'such as SubnetMin or Backend.MTU; or the whole config as JSON')
    .argument('[value]', 'a number, true, false or text; "" removes the key')
    .option('--yes-renumber', 'change it although nodes lose their subnets', false)
    .option('--dry-run', 'print the plan alone', false)
    .addHelpText('after', `${ETCD_HELP}\nExample:\n  rudder config set Backend.MTU 1400\n`)
    .action(async (key: string, value: string | undefined, flags: { yesRenumber: boolean; dryRun: boolean }) => {
      const { setConfig, withAdministration } = await import('./config/config.js');
      ended(
        await withAdministration(await useStore(node()), (...of) => setConfig(of[0], { key, value, ...flags }, of[1])),
      );
    });
  config
    .command('history')
    .description('show the last 20 versions: when, by whom, what changed')
    .option('--json', 'for machines', false)
    .option('--show-secrets', 'values of keys, secrets, passwords and tokens too', false)
    .addHelpText('after', `${ETCD_HELP}\nExample:\n  rudder config history\n`)
    .action(async (shown: Shown) => {
      const { showHistory, withAdministration } = await import('./config/config.js');
      ended(await withAdministration(await useStore(node()), (...of) => showHistory(of[0], shown, of[1])));
    });
}

function addKeyCommands(program: Command, node: () => NodeOptions, ended: (status: number) => void): void {
  const keys: Command = program
    .command('keys')
    .description("change the running node's own key, if its backend encrypts")
    .addHelpText('after', '\nExample:\n  rudder keys rotate\n')
    .action(() => keys.help());
  keys
    .command('rotate')
    .description('make another key: peers take it from the lease, and their sessions with the former one end')
    .addHelpText('after', `${SOCKET_HELP}\nExample:\n  rudder keys rotate\n`)
    .action(async () => {
      ended(await (await import('./keys.js')).rotateKeys(node().raw.subnetFile));
    });
}

function addDockerCommands(program: Command, node: () => NodeOptions, ended: (status: number) => void): void {
  const docker: Command = program
    .command('docker')
    .description("as root: whether Docker of this host takes its bridge's subnet from Rudder")
    .addHelpText('after', '\nExample:\n  rudder docker enable --now\n')
    .action(() => docker.help());
  docker
    .command('enable')
    .description('Docker waits for the subnet, and is started and restarted on it')
    .option('--now', 'restart Docker, if it runs on another one', false)
    .addHelpText('after', '\nExample:\n  rudder docker enable --now\n')
    .action(async ({ now }: { now: boolean }) => {
      ended(await (await import('./docker.js')).enableDocker(node(), now));
    });
  docker
    .command('disable')
    .description('Docker goes its own way, on an address of its own')
    .option('--now', "restart Docker, if it runs on Rudder's subnet", false)
    .addHelpText('after', '\nExample:\n  rudder docker disable --now\n')
    .action(async ({ now }: { now: boolean }) => {
      ended(await (await import('./docker.js')).disableDocker(now));
    });
  docker
    .command('follow')
    .description('for rudder-docker.service: start or restart Docker if the subnet is another one')
    .addHelpText('after', '\nExample:\n  rudder docker follow\n')
    .action(async () => {
      ended(await (await import('./docker.js')).followRudder());
    });
}
