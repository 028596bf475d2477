import { expiryWarning } from '../../core/certificates.js';
import type { Status } from '../../ops/status.js';
import { unitPropertiesIn } from '../../system/unit-properties.js';
import { EXIT_CODES } from '../exit-codes.js';
import { duration } from '../status.js';
import { bad, ok, warn } from './findings.js';
import type { Finding, Host } from './host.js';

/** The node's process, by its control socket, and where that is silent by what systemd knows of the service. */
export async function daemon(host: Host): Promise<Finding[]> {
  const { status, daemon: answer, socketPath } = host;
  const unit = await readUnit(host);
  if (status !== undefined) return ofRunning(status, unit);
  switch (answer.is) {
    case 'starting': {
      const again = unit !== undefined && unit.restarts > 0 ? `; systemd has restarted it ${times(unit.restarts)}` : '';
      const remedy = answer.phase.includes('etcd')
        ? 'it goes on by itself when etcd is there: see etcd below'
        : 'if it stays so, see the log: journalctl -u rudder';
      return [bad('daemon', `is starting: ${answer.phase}${again}`, again === '' ? remedy : LOG)];
    }
    case 'failing':
      return [bad('daemon', `runs, and cannot tell its status: ${answer.reason}`, LOG)];
    case 'not permitted':
      return [bad('daemon', `the control socket ${socketPath} is for root alone: nothing is known`, 'run as root')];
    case 'silent': {
      const detail = `hangs: somebody listens on ${socketPath} and gives no answer within ${answer.seconds} s`;
      return [bad('daemon', detail, 'see why, journalctl -u rudder, and then: systemctl restart rudder')];
    }
    case 'garbled':
      return [bad('daemon', answer.reason, 'update rudder and its daemon to one version, and restart it')];
    case 'absent':
      return [unit === undefined ? ofNobody(socketPath) : ofUnit(unit, socketPath)];
  }
}

const LOG = 'see the log: journalctl -u rudder';
const MANY_RESTARTS = 3;
const YOUNG_SECONDS = 300;

function ofRunning(status: Status, unit: Unit | undefined): Finding[] {
  return [
    ...stateOf(status, unit),
    ...status.warnings.map((text) => warn('daemon', text, LOG)),
    ...certificates(status),
  ];
}

const certificates = ({ etcd }: Status) =>
  etcd.certificates.flatMap((end) => {
    const warning = expiryWarning(end, Date.now());
    const remedy = 'ask for a new one whoever issues the certificates of etcd';
    return warning === undefined ? [] : [warn('certificates', warning, remedy)];
  });

function stateOf({ problems, node, uptimeSeconds }: Status, unit: Unit | undefined): Finding[] {
  if (problems.length > 0) return problems.map((problem) => bad('daemon', problem, LOG));
  if (unit !== undefined && unit.restarts >= MANY_RESTARTS && uptimeSeconds < YOUNG_SECONDS) {
    const detail = `is ready, for ${duration(uptimeSeconds)}: systemd has restarted it ${times(unit.restarts)}`;
    return [warn('daemon', detail, LOG)];
  }
  return [ok('daemon', `runs, and is ready with ${node.subnet}`)];
}

function ofNobody(socketPath: string): Finding {
  const remedy = 'start it (a service with "systemctl start rudder"), or give the --subnet-file that it was given';
  return bad('daemon', `no rudder answers on ${socketPath}`, remedy);
}

/** Nobody listens on the control socket. */
function ofUnit(unit: Unit, socketPath: string): Finding {
  const { active, sub, restarts } = unit;
  const last = lastExit(unit);
  const isAgain = sub === 'auto-restart' || (active === 'activating' && restarts > 0);
  if (isAgain) {
    const how = last === undefined ? '' : `, last after ${last}`;
    const detail = `ends again and again: systemd has restarted it ${times(restarts)}${how}`;
    return bad('daemon', detail, 'journalctl -u rudder -n 20 says why; exit codes: docs/troubleshooting.md');
  }
  if (active === 'failed') {
    const remedy = 'journalctl -u rudder -n 20 says why; mend that, and then: systemctl start rudder';
    return bad('daemon', `has failed: ${last ?? `systemd says "${unit.result}"`}`, remedy);
  }
  if (active === 'activating') return bad('daemon', 'is being started by systemd', LOG);
  if (active === 'active') {
    const detail = `runs, says systemd, but nobody listens on ${socketPath}`;
    return bad('daemon', detail, 'give the --subnet-file that it was given');
  }
  const how = last === undefined || last === 'exit code 0' ? '' : `, after ${last}`;
  return bad('daemon', `is stopped${how}`, 'start it: systemctl start rudder');
}

interface Unit {
  readonly active: string;
  readonly sub: string;
  readonly result: string;
  /** 1: it ended by itself; 2 and 3: by a signal. */
  readonly mainCode: string;
  readonly mainStatus: number;
  readonly restarts: number;
}

const PROPERTIES = 'LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts';

/** Undefined where there is no systemd, or no such service. */
async function readUnit(host: Host): Promise<Unit | undefined> {
  const text = await host.run('systemctl', ['show', 'rudder.service', `--property=${PROPERTIES}`]);
  const values = unitPropertiesIn(text ?? '');
  if (values.get('LoadState') !== 'loaded') return undefined;
  const property = (name: string) => values.get(name) ?? '';
  return {
    active: property('ActiveState'),
    sub: property('SubState'),
    result: property('Result'),
    mainCode: property('ExecMainCode'),
    mainStatus: Number(property('ExecMainStatus')),
    restarts: Number(property('NRestarts')) || 0,
  };
}

/** Undefined: it has not ended yet. */
function lastExit({ mainCode, mainStatus, result }: Unit): string | undefined {
  if (mainCode === '1') {
    const kind = Object.entries(EXIT_CODES).find(([, code]) => code === mainStatus)?.[0];
    return `exit code ${mainStatus}${kind === undefined ? '' : ` (${kind})`}`;
  }
  if (mainCode !== '2' && mainCode !== '3') return undefined;
  return `signal ${mainStatus}${result === 'signal' ? '' : ` (${result})`}`;
}

const times = (count: number) => (count === 1 ? 'once' : `${count} times`);
