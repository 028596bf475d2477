import { LONGEST_HEARTBEAT_SECONDS } from '../ops/status-problems.js';
import type { SdNotify } from '../system/sd-notify.js';

/**
 * Tells systemd regularly that both threads run: this timer shows that the main thread does, the heartbeat that the
 * packet path does. What hangs is killed and started again (systemd.service(5), WatchdogSec=).
 * @param watchdogUsec $WATCHDOG_USEC: undefined without a watchdog
 */
export function keepWatchdogFed(
  watchdogUsec: string | undefined,
  heartbeatAgeMs: () => number,
  notify: SdNotify,
): { stop(): void } {
  const intervalMs = Number(watchdogUsec) / 1000 / 3;
  if (!(intervalMs > 0)) return { stop: () => undefined };
  const timer = setInterval(() => {
    if (heartbeatAgeMs() <= LONGEST_HEARTBEAT_SECONDS * 1000) notify('WATCHDOG=1');
  }, intervalMs);
  return { stop: () => clearInterval(timer) };
}
