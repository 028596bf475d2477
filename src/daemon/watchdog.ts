import type { SdNotify } from '../system/sd-notify.js';

/** A packet path that has not run for longer than this hangs: it looks at its clock once a second at least. */
const LONGEST_HEARTBEAT_MS = 5000;

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
    if (heartbeatAgeMs() <= LONGEST_HEARTBEAT_MS) notify('WATCHDOG=1');
  }, intervalMs);
  return { stop: () => clearInterval(timer) };
}
