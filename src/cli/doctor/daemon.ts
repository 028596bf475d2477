import type { Status } from '../../ops/status.js';
import { duration } from '../status.js';
import { bad, ok, warn } from './findings.js';
import type { Facts, Finding } from './host.js';
import { lastExit, restart, type Service, seeLog } from './service.js';

/** The node's process, by its control socket, and where that is silent by what systemd knows of the service. */
export async function daemon(host: Facts): Promise<Finding[]> {
  const { status, daemon: answer, socketPath, service } = host;
  const log = seeLog(service);
  if (status !== undefined) return ofRunning(host, status);
  switch (answer.is) {
    case 'starting': {
      const restarts = service?.restarts ?? 0;
      const again = restarts > 0 ? `; systemd has restarted it ${times(restarts)}` : '';
      const store = /kubernetes/.test(answer.phase)
        ? 'Kubernetes answers and has a podCIDR'
        : 'etcd answers and has a network config';
      const remedy = /etcd|kubernetes|network config/.test(answer.phase)
        ? `it goes on by itself when ${store}: see below`
        : `if it stays so, ${log}`;
      return [bad('daemon', `is starting: ${answer.phase}${again}`, again === '' ? remedy : log)];
    }
    case 'failing':
      return [bad('daemon', `runs, and cannot tell its status: ${answer.reason}`, log)];
    case 'not permitted':
      return [bad('daemon', `the control socket ${socketPath} is for root alone: nothing is known`, 'run as root')];
    case 'silent': {
      const detail = `hangs: somebody listens on ${socketPath} and gives no answer within ${answer.seconds} s`;
      return [bad('daemon', detail, `${log}; and then: ${restart(service)}`)];
    }
    case 'garbled':
      return [bad('daemon', answer.reason, restart(service))];
    case 'absent':
      return [service === undefined ? ofNobody(socketPath) : ofUnit(service, socketPath)];
  }
}

const MANY_RESTARTS = 3;
const YOUNG_SECONDS = 300;

function ofRunning({ version, service }: Facts, status: Status): Finding[] {
  const log = seeLog(service);
  const other = `runs with version ${status.version}, and this command is of ${version}`;
  return [
    ...stateOf(status, service),
    ...(status.version === version ? [] : [warn('daemon', other, restart(service))]),
    ...status.warnings.map((text) => warn('daemon', text, remedyOf(text) ?? log)),
  ];
}

/** What the log knows no more of than the warning does (ops/status-problems.ts). */
const REMEDIES: readonly (readonly [warning: RegExp, remedy: string])[] = [
  [/^packets are encrypted, but /, 'let it serve https://, and give all nodes that address: see docs/encryption.md'],
  [/^the clock is /, 'set it: see docs/encryption.md'],
  [/^the certificate /, 'see docs/configuration.md'],
  [/^the (network config in etcd|stored network config) is /, 'compare it with "rudder config get"'],
  [/ ignored: /, '"rudder leases" shows who they are of; restart nodes that run with an older network config'],
  [/ skipped: /, 'see "peers" below'],
  [/ a larger subnet than /, '"rudder leases" shows all subnets'],
];

const remedyOf = (warning: string) => REMEDIES.find(([pattern]) => pattern.test(warning))?.[1];

function stateOf({ problems, node, uptimeSeconds }: Status, service: Service | undefined): Finding[] {
  const log = seeLog(service);
  if (problems.length > 0) return problems.map((problem) => bad('daemon', problem, log));
  if (service !== undefined && service.restarts >= MANY_RESTARTS && uptimeSeconds < YOUNG_SECONDS) {
    const detail = `is ready, for ${duration(uptimeSeconds)}: systemd has restarted it ${times(service.restarts)}`;
    return [warn('daemon', detail, log)];
  }
  return [ok('daemon', `runs, and is ready with ${node.subnet}`)];
}

function ofNobody(socketPath: string): Finding {
  const remedy = 'start it, or give the --subnet-file that it was given: there is no rudder.service here';
  return bad('daemon', `no rudder answers on ${socketPath}`, remedy);
}

/** Nobody listens on the control socket. */
function ofUnit(service: Service, socketPath: string): Finding {
  const { active, sub, restarts, result } = service;
  const last = lastExit(service);
  const isAgain = sub === 'auto-restart' || (active === 'activating' && restarts > 0);
  if (isAgain) {
    const how = last === undefined ? '' : `, last after ${last}`;
    const detail = `ends again and again: systemd has restarted it ${times(restarts)}${how}`;
    return bad('daemon', detail, 'journalctl -u rudder -n 20 says why; exit codes: docs/troubleshooting.md');
  }
  if (active === 'failed') {
    const remedy = 'journalctl -u rudder -n 20 says why; mend that, and then: systemctl start rudder';
    return bad('daemon', `has failed: ${last ?? `systemd says "${result}"`}`, remedy);
  }
  if (active === 'activating') return bad('daemon', 'is being started by systemd', seeLog(service));
  if (active === 'active') {
    const detail = `runs, says systemd, but nobody listens on ${socketPath}`;
    return bad('daemon', detail, 'give the --subnet-file that it was given');
  }
  const how = last === undefined || last === 'exit code 0' ? '' : `, after ${last}`;
  return bad('daemon', `is stopped${how}`, 'start it: systemctl start rudder');
}

const times = (count: number) => (count === 1 ? 'once' : `${count} times`);
