import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, RudderError, shorten } from '../../core/errors.js';
import { controlSocketOf } from '../../ops/http.js';
import type { Status } from '../../ops/status.js';
import { call } from '../../system/command.js';
import { unitPropertiesIn } from '../../system/unit-properties.js';
import { askStatus } from '../doctor/doctor.js';

export const UNIT = 'rudder.service';
const POLL_MS = 300;

/** rudder.service as systemd knows it; undefined: systemd does not run this host. */
export interface Unit {
  /** `loaded`, `not-found`, `masked`. */
  readonly load: string;
  readonly active: string;
  /** Something is still to be done with it: a start lasts until the node is ready. */
  readonly isBusy: boolean;
  readonly restarts: number;
  readonly user: string;
  readonly exitStatus: string;
}

export async function readUnit(): Promise<Unit | undefined> {
  const names = 'LoadState,ActiveState,Job,NRestarts,User,ExecMainStatus';
  const text = await call('systemctl', ['show', UNIT, `--property=${names}`]).catch(() => undefined);
  if (text === undefined) return undefined;
  const properties = unitPropertiesIn(text);
  const value = (name: string) => properties.get(name) ?? '';
  return {
    load: value('LoadState'),
    active: value('ActiveState'),
    isBusy: Number(value('Job') || 0) > 0,
    restarts: Number(value('NRestarts') || 0),
    user: value('User') || 'root',
    exitStatus: value('ExecMainStatus'),
  };
}

/** Enabled, and on its way. @throws RudderError `not-ready` */
export async function startService(isChanged: boolean): Promise<void> {
  await systemctl('enable', UNIT);
  // Not waited for: a start lasts as long as etcd is away.
  await systemctl(isChanged ? 'restart' : 'start', '--no-block', UNIT);
}

async function systemctl(...args: string[]): Promise<void> {
  try {
    await call('systemctl', args);
  } catch (error) {
    throw new RudderError('not-ready', `${messageOf(error)}; see "systemctl status rudder"`, { cause: error });
  }
}

/**
 * @param tell what it waits for, when that is another thing
 * @throws RudderError `not-ready` if the node ends instead, or takes longer
 */
export async function waitUntilReady(
  subnetFile: string,
  seconds: number,
  tell: (phase: string) => void,
): Promise<Status> {
  const socketPath = controlSocketOf(subnetFile);
  const until = performance.now() + seconds * 1000;
  const before = (await readUnit())?.restarts ?? 0;
  let told = '';
  for (;;) {
    const { status, daemon } = await askStatus(socketPath, subnetFile);
    const unit = await readUnit();
    // While the start lasts it may be the node before that answers.
    const isUp = unit?.active === 'active' && !unit.isBusy;
    if (isUp && status !== undefined && status.problems.length === 0) return status;
    if (unit !== undefined && unit.restarts > before) throw await failure(unit);
    const phase = phaseOf(isUp ? status : undefined, daemon);
    if (phase !== told) tell(phase);
    told = phase;
    if (performance.now() > until) {
      const remedy = 'the service goes on by itself: see "rudder status" and "rudder doctor"';
      throw new RudderError('not-ready', `the node is not ready after ${seconds} s, ${phase}; ${remedy}`);
    }
    await delay(POLL_MS);
  }
}

function phaseOf(status: Status | undefined, daemon: Awaited<ReturnType<typeof askStatus>>['daemon']): string {
  if (status !== undefined) return status.problems.join('; ');
  return daemon.is === 'starting' ? daemon.phase : 'starting';
}

/** With its own last line, which says why. */
async function failure({ exitStatus }: Unit): Promise<RudderError> {
  const journal = ['-q', '-u', UNIT, '-p', 'err', '-n', '1', '-o', 'cat'];
  const line = await call('journalctl', journal).catch(() => '');
  const said = line.trim() === '' ? '' : `: ${shorten(line.trim().replace(/^rudder: /, ''), 600)}`;
  return new RudderError(
    'not-ready',
    `${UNIT} has ended with exit code ${exitStatus}${said}; systemd tries it again until that is mended: see "journalctl -u rudder"`,
  );
}
