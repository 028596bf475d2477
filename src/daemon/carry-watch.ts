import type { Backend } from '../backend/backend.js';
import type { Joined } from '../control/membership.js';
import { LONGEST_HEARTBEAT_SECONDS } from '../ops/status-problems.js';
import type { Netlink } from '../system/netlink.js';
import type { HostKeeper } from './host-keeper.js';

const LOOK_MS = 5000;

export interface CarryWatchOptions {
  readonly joined: Pick<Joined, 'carries'>;
  readonly backend: Pick<Backend, 'device' | 'packetPath'>;
  readonly host: Pick<HostKeeper, 'carryProblem' | 'underlay'>;
  readonly netlink: Pick<Netlink, 'link'>;
}

/**
 * Tells a store that wants to know whether this node moves packets: what is wrong with the store itself is no matter of
 * that.
 */
export function watchCarrying({ joined, backend, host, netlink }: CarryWatchOptions): { stop(): void } {
  if (joined.carries === undefined) return { stop: () => undefined };
  const { carries } = joined;

  async function problem(): Promise<string | undefined> {
    const heartbeatSeconds = (backend.packetPath?.heartbeatAgeMs() ?? 0) / 1000;
    if (heartbeatSeconds > LONGEST_HEARTBEAT_SECONDS) {
      return `the packet path has not run for ${Math.round(heartbeatSeconds)} s`;
    }
    const device = backend.device ?? host.underlay().name;
    const link = await netlink.link(device).catch(() => undefined);
    return link?.up ? host.carryProblem() : `${device} is down or gone`;
  }

  let isStopped = false;
  let timer: NodeJS.Timeout | undefined;
  async function look(): Promise<void> {
    const found = await problem();
    if (isStopped) return;
    carries(found);
    timer = setTimeout(look, LOOK_MS);
  }
  void look();
  return {
    stop() {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}
