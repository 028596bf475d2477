import { ok, warn } from './findings.js';
import type { Finding, Host } from './host.js';

/** Beyond this, certificates and logs start to disagree. */
const MOST_CLOCK_SECONDS = 30;

/** etcd's web server tells the time in each answer. The members may disagree: each counts. */
export async function clock(host: Host): Promise<Finding[]> {
  if (host.etcd === undefined || 'problem' in host.etcd) return []; // told elsewhere
  const asked = await Promise.all(
    host.etcd.endpoints.map(async (endpoint) => ({ endpoint, seconds: await differenceTo(host, endpoint) })),
  );
  const told = asked.filter((one): one is { endpoint: string; seconds: number } => one.seconds !== undefined);
  if (told.length === 0) {
    return [warn('clock', 'no etcd endpoint tells the time', 'is etcd running, is --etcd-endpoints right?')];
  }
  const worst = Math.max(...told.map(({ seconds }) => Math.abs(seconds)));
  if (worst <= MOST_CLOCK_SECONDS) {
    const of = told.length === asked.length ? '' : ` (of ${told.map(({ endpoint }) => endpoint).join(', ')})`;
    return [ok('clock', `agrees with etcd's to ${Math.max(1, worst)} s${of}`)];
  }
  const far = told.filter(({ seconds }) => Math.abs(seconds) > MOST_CLOCK_SECONDS);
  const remedy =
    far.length < told.length
      ? 'the clock there is wrong, or this one and those of the other endpoints: run an NTP client such as systemd-timesyncd on all hosts'
      : 'run an NTP client such as systemd-timesyncd on all hosts';
  return far.map(({ endpoint, seconds }) =>
    warn('clock', `is ${Math.abs(seconds)} s ${seconds > 0 ? 'ahead of' : 'behind'} that of ${endpoint}`, remedy),
  );
}

/** Positive: this host's is ahead. */
async function differenceTo(host: Host, endpoint: string): Promise<number | undefined> {
  const date = await host.clockOf(endpoint);
  return date === undefined ? undefined : Math.round((host.now() - date.getTime()) / 1000);
}
