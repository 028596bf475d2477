import { uptime } from 'node:os';

/**
 * Milliseconds since this host was started, its sleep included (/proc/uptime). `performance.now()` stands still while a host
 * is suspended, and nobody else's time does: the TTL of a lease runs on in etcd.
 */
export const bootNow = (): number => uptime() * 1000;
