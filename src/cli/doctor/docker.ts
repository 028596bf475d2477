import { parseIpv4, parseSubnet } from '../../core/address-text.js';
import { shorten } from '../../core/errors.js';
import { contains, formatSubnet } from '../../core/subnet.js';
import type { Status } from '../../ops/status.js';
import { unitPropertiesIn } from '../../system/unit-properties.js';
import { bad, ok, unknown, warn } from './findings.js';
import type { Facts, Finding, Host } from './host.js';

/** Whether Docker runs, and its bridge is on our subnet with our MTU. Nothing where there is no Docker. */
export async function docker(host: Facts): Promise<Finding[]> {
  const unit = await readUnit(host);
  const version = await host.run('docker', ['version', '--format', '{{.Server.Version}}']);
  if (version === undefined) return ofSilent(host, unit);
  const text = await host.run('docker', ['network', 'inspect', 'bridge', '--format', '{{json .}}']);
  const network = text === undefined ? undefined : readNetwork(text);
  if (network === undefined) {
    return [unknown('docker', 'it has no network "bridge", or does not tell of it', 'see "docker network ls"')];
  }
  const bridge = host.links.find(({ ifname }) => ifname === network.bridge);
  // That of another network namespace, which shares this host's files.
  if (bridge === undefined) return [];
  if (host.status === undefined) return [ok('docker', `runs: ${shorten(version.trim(), 40)}`)];
  return ofBridge(host.status, bridge, network, unit?.isOurs === true);
}

function ofBridge(status: Status, bridge: Facts['links'][number], network: Network, isOurs: boolean): Finding[] {
  const { subnet } = status.node;
  const { mtu, pools } = network;
  const addresses = bridge.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`);
  const own = parseSubnet(subnet)!;
  const isThere = bridge.addr_info.some(
    ({ local, prefixlen }) => prefixlen === own.prefixLength && contains(own, parseIpv4(local) ?? 0),
  );
  const [tell, remedy] = isOurs
    ? [
        bad,
        'systemctl restart docker; if it stays so, see what else sets its bridge: systemctl cat docker, /etc/docker/daemon.json',
      ]
    : [warn, 'if its containers shall be on the overlay: rudder docker enable'];
  if (!isThere) {
    const where = addresses.length === 0 ? 'has no address' : `is on ${addresses.join(', ')}`;
    return [tell('docker', `its bridge ${bridge.ifname} ${where}, and not on ${subnet}`, remedy)];
  }
  // The bridge may have been given that address behind Docker's back: containers get theirs by Docker's books.
  if (pools.length === 0) {
    return [
      unknown('docker', 'it does not tell which addresses its containers get', 'see "docker network inspect bridge"'),
    ];
  }
  const foreign = pools.find((pool) => pool.subnet !== subnet);
  if (foreign !== undefined) {
    return [tell('docker', `its containers get addresses of ${foreign.subnet}, and not of ${subnet}`, remedy)];
  }
  // Not every Docker tells the gateway.
  const gateways = pools.flatMap(({ gateway }) => gateway ?? []);
  const absent = gateways.find((gateway) => !bridge.addr_info.some(({ local }) => local === gateway));
  if (absent !== undefined) {
    const where = `its bridge ${bridge.ifname} is on ${addresses.join(', ')}`;
    return [tell('docker', `its containers send by ${shorten(absent, 40)}, and ${where}`, remedy)];
  }
  const most = status.device.mtu;
  if (mtu > most) {
    return [tell('docker', `its bridge has MTU ${mtu}, and the overlay carries ${most}`, remedy)];
  }
  return [ok('docker', `its bridge ${bridge.ifname} is on ${addresses.join(', ')} with MTU ${mtu} of ${most}`)];
}

interface DockerUnit {
  readonly active: string;
  readonly result: string;
  /** Whether it is told to take its bridge from Rudder's subnet file. */
  readonly isOurs: boolean;
}

async function readUnit(host: Host): Promise<DockerUnit | undefined> {
  const properties = 'LoadState,ActiveState,Result,DropInPaths,ExecStart';
  const values = unitPropertiesIn(
    (await host.run('systemctl', ['show', 'docker.service', `--property=${properties}`])) ?? '',
  );
  if (values.get('LoadState') !== 'loaded') return undefined;
  const said = `${values.get('DropInPaths')} ${values.get('ExecStart')}`;
  return {
    active: values.get('ActiveState') ?? '',
    result: values.get('Result') ?? '',
    isOurs: /rudder/i.test(said),
  };
}

async function ofSilent(host: Host, unit: DockerUnit | undefined): Promise<Finding[]> {
  if (unit === undefined) {
    if (!(await host.exists('/var/run/docker.sock'))) return [];
    return [bad('docker', 'does not answer on /var/run/docker.sock', 'start it, or see its log')];
  }
  switch (unit.active) {
    case 'active':
      return [bad('docker', 'runs, says systemd, but does not answer', 'see its log: journalctl -u docker')];
    case 'activating':
      return [warn('docker', 'is being started, or waits', 'see "systemctl status docker"')];
    case 'failed':
      return [
        bad('docker', `has failed: ${unit.result}`, 'see why, journalctl -u docker, then: systemctl start docker'),
      ];
    default:
      return [warn('docker', 'is stopped', 'systemctl start docker, if containers shall run here')];
  }
}

/** Docker's own, if nobody says otherwise. */
const DEFAULT_MTU = 1500;

interface Network {
  readonly bridge: string;
  readonly mtu: number;
  /** From which containers get their IPv4 addresses, and by which they send. */
  readonly pools: readonly { readonly subnet: string; readonly gateway: string | undefined }[];
}

function readNetwork(text: string): Network | undefined {
  try {
    const { Options, IPAM } = JSON.parse(text) as {
      Options?: Record<string, string>;
      IPAM?: { Config?: { Subnet?: string; Gateway?: string }[] | null };
    };
    const bridge = Options?.['com.docker.network.bridge.name'] ?? 'docker0';
    const pools = (IPAM?.Config ?? []).flatMap(({ Subnet, Gateway }) => {
      const subnet = parseSubnet(Subnet ?? ''); // not one of IPv6
      return subnet === undefined ? [] : [{ subnet: formatSubnet(subnet), gateway: Gateway || undefined }];
    });
    return { bridge, mtu: Number(Options?.['com.docker.network.driver.mtu'] ?? DEFAULT_MTU), pools };
  } catch {
    return undefined;
  }
}
