import { writeFileSync } from 'node:fs';
import { execa } from 'execa';
import { RudderError } from '../core/errors.js';
import { nodeAddress, nodeName } from '../lab/names.js';
import { execIn } from '../lab/network.js';
import { type LabNode, type LabState, labDirectory } from '../lab/state.js';

/** Underlay 1500 less IPv4, UDP, nebula's header and tag: its own default of 1300 would be a handicap. */
export const NEBULA_MTU = 1440;
const NEBULA_PORT = 4242;
export const nebulaDevice = (node: LabNode) => `nebula${node.number}`;

/**
 * Makes certificates and a configuration for each node, with the other's containers behind it.
 * @returns the files by which nebula is started, in the order of the nodes
 */
export async function prepareNebula(lab: LabState, binary: string): Promise<string[]> {
  const directory = labDirectory(lab.name);
  const ca = { 'out-crt': `${directory}/nebula-ca.crt`, 'out-key': `${directory}/nebula-ca.key` };
  // It overwrites nothing: each round has an authority of its own.
  await execIn(lab, nodeName(lab.nodes[0]), ['sh', '-c', `rm -f ${directory}/nebula-*`]);
  await certify(binary, 'ca', { name: 'bench', ...ca });
  return Promise.all(lab.nodes.map((node, i) => prepareNode(lab, node, lab.nodes[1 - i], binary, ca)));
}

async function prepareNode(
  lab: LabState,
  node: LabNode,
  peer: LabNode,
  binary: string,
  ca: { 'out-crt': string; 'out-key': string },
): Promise<string> {
  const [i, j] = [node.number, peer.number];
  const file = (ending: string) => `${labDirectory(lab.name)}/nebula-n${i}.${ending}`;
  await certify(binary, 'sign', {
    'ca-crt': ca['out-crt'],
    'ca-key': ca['out-key'],
    name: nodeName(node),
    ip: `10.80.0.${i}/24`,
    subnets: `10.55.${i}.0/24`,
    'out-crt': file('crt'),
    'out-key': file('key'),
  });
  const all = [{ port: 'any', proto: 'any', host: 'any' }];
  const settings = {
    pki: { ca: ca['out-crt'], cert: file('crt'), key: file('key') },
    static_host_map: { [`10.80.0.${j}`]: [`${nodeAddress(lab, peer)}:${NEBULA_PORT}`] },
    lighthouse: { am_lighthouse: false, hosts: [] },
    listen: { host: '0.0.0.0', port: NEBULA_PORT },
    tun: {
      dev: nebulaDevice(node),
      mtu: NEBULA_MTU,
      unsafe_routes: [{ route: `10.55.${j}.0/24`, via: `10.80.0.${j}`, mtu: NEBULA_MTU }],
    },
    logging: { level: 'error' },
    firewall: { outbound: all, inbound: all },
  };
  // JSON is YAML too.
  writeFileSync(file('yml'), JSON.stringify(settings), { mode: 0o600 });
  return file('yml');
}

async function certify(binary: string, command: string, values: Readonly<Record<string, string>>): Promise<void> {
  const flags = Object.entries(values).flatMap(([name, value]) => [`-${name}`, value]);
  const result = await execa(`${binary}-cert`, [command, ...flags], { reject: false });
  if (result.exitCode === 0) return;
  const said = result.stderr || result.shortMessage;
  throw new RudderError('lab', `"${binary}-cert ${command}" failed: ${said}; --nebula needs nebula-cert beside it`);
}
