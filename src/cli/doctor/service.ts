import { unitPropertiesIn } from '../../system/unit-properties.js';
import { EXIT_CODES } from '../exit-codes.js';
import type { Host } from './host.js';

/** rudder.service as systemd knows it. */
export interface Service {
  readonly active: string;
  readonly sub: string;
  readonly result: string;
  /** 1: it ended by itself; 2 and 3: by a signal. */
  readonly mainCode: string;
  readonly mainStatus: number;
  readonly restarts: number;
}

const PROPERTIES = 'LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts';

/**
 * Undefined where the node is no service: there is no systemd, as in a container, no such unit, as in a checkout, or a
 * daemon runs while the unit does not.
 */
export async function readService(host: Host): Promise<Service | undefined> {
  const text = await host.run('systemctl', ['show', 'rudder.service', `--property=${PROPERTIES}`]);
  const values = unitPropertiesIn(text ?? '');
  if (values.get('LoadState') !== 'loaded') return undefined;
  const property = (name: string) => values.get(name) ?? '';
  const active = property('ActiveState');
  const isRunning = host.status !== undefined || host.daemon.is !== 'absent';
  if (isRunning && ['inactive', 'failed'].includes(active)) return undefined;
  return {
    active,
    sub: property('SubState'),
    result: property('Result'),
    mainCode: property('ExecMainCode'),
    mainStatus: Number(property('ExecMainStatus')),
    restarts: Number(property('NRestarts')) || 0,
  };
}

/** What to do with the node, in the words of this host. */
export const seeLog = (service: Service | undefined) =>
  service === undefined
    ? 'see its log: it is no service here and writes to its standard output'
    : 'see the log: journalctl -u rudder';
export const restart = (service: Service | undefined) =>
  service === undefined ? 'restart rudder as it was started: it is no service here' : 'systemctl restart rudder';

/** How it ended the last time; undefined: it has not ended yet. */
export function lastExit({ mainCode, mainStatus, result }: Service): string | undefined {
  if (mainCode === '1') {
    const kind = Object.entries(EXIT_CODES).find(([, code]) => code === mainStatus)?.[0];
    return `exit code ${mainStatus}${kind === undefined ? '' : ` (${kind})`}`;
  }
  if (mainCode !== '2' && mainCode !== '3') return undefined;
  return `signal ${mainStatus}${result === 'signal' ? '' : ` (${result})`}`;
}
