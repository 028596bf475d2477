import type { ErrorCode } from '../../core/errors.js';
import { permissions } from '../doctor/checks.js';
import { etcd } from '../doctor/etcd.js';
import { bad, ok } from '../doctor/findings.js';
import type { Facts, Finding } from '../doctor/host.js';
import { kernel } from '../doctor/kernel-links.js';
import { tunnelPort } from '../doctor/tunnel-port.js';

/** What the node needs of this host and of etcd before it can start: those of the doctor that need no daemon, and more. */

export interface Needs {
  /** The node keeps firewall rules. */
  readonly firewall: boolean;
  /** What the daemon reads of etcd's credentials. */
  readonly files: readonly string[];
  /** As whom it runs; undefined: it is no service here. */
  readonly user: string | undefined;
}

export function checksOf(needs: Needs): readonly ((host: Facts) => Promise<Finding[]>)[] {
  return [permissions, (host) => commands(host, needs), etcd, kernel, tunnelPort, (host) => files(host, needs)];
}

async function commands(host: Facts, { firewall }: Needs): Promise<Finding[]> {
  if (!firewall) return [];
  const missing: string[] = [];
  for (const command of ['iptables', 'nft']) if (!(await host.succeeds(command, ['--version']))) missing.push(command);
  if (missing.length === 0) return [ok('firewall', 'iptables and nft are installed')];
  const packages = missing.map((command) => (command === 'nft' ? 'nftables' : command)).join(' ');
  const remedy = `apt-get install ${packages}, or let the node leave the firewall alone with RUDDERD_NO_FIREWALL=true`;
  return [bad('firewall', `there is no command ${missing.join(' and no command ')}`, remedy)];
}

/** What rudder.service does not see of the file system: ProtectHome= and PrivateTmp=. */
const UNSEEN = /^\/(home|root|run\/user|tmp|var\/tmp)\//;

/** Root can read them all, which says nothing. */
async function files(host: Facts, { files, user }: Needs): Promise<Finding[]> {
  if (user === undefined || files.length === 0) return [];
  for (const path of files) {
    if (UNSEEN.test(path)) {
      const remedy = 'move it, say to /etc/rudder';
      return [bad('files', `${path} is where rudder.service sees nothing of the file system`, remedy)];
    }
    if (user !== 'root' && !(await host.succeeds('runuser', ['-u', user, '--', 'test', '-r', path]))) {
      const remedy = `chgrp ${user} ${path} && chmod g+r ${path}, and let it enter the directories above`;
      return [bad('files', `${path} cannot be read by the user ${user}, as whom the node runs`, remedy)];
    }
  }
  return [ok('files', `the user ${user} can read ${files.join(', ')}`)];
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  permissions: 'device',
  firewall: 'firewall',
  'network config': 'network-config',
  kernel: 'device',
  'tunnel port': 'socket',
  files: 'file',
};

/** @param etcdCode of what is wrong with etcd */
export const codeOf = ({ check }: Finding, etcdCode: ErrorCode): ErrorCode => CODES[check] ?? etcdCode;
