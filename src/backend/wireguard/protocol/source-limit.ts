/**
 * Handshakes under load: so many a second of each source address (those of wireguard-go). A cookie has shown that it is the
 * sender's own.
 */
const A_SECOND = 20;
const BURST = 5;
const GONE_AFTER_MS = 1000;
/** What somebody with a large network of addresses can make us remember. */
const MOST_SOURCES = 4096;

interface Bucket {
  tokens: number;
  at: number;
}

export function createSourceLimit(now: () => number) {
  /** In the order of their last message. */
  const buckets = new Map<number, Bucket>();

  function forgetOld(): void {
    for (const [address, { at }] of buckets) {
      if (now() - at < GONE_AFTER_MS && buckets.size <= MOST_SOURCES) return;
      buckets.delete(address);
    }
  }

  /** Whether one more handshake of that address may cost us something. */
  return function allows(address: number): boolean {
    const before = buckets.get(address) ?? { tokens: BURST, at: now() };
    const tokens = Math.min(BURST, before.tokens + ((now() - before.at) * A_SECOND) / 1000);
    const isAllowed = tokens >= 1;
    buckets.delete(address);
    buckets.set(address, { tokens: isAllowed ? tokens - 1 : tokens, at: now() });
    forgetOld();
    return isAllowed;
  };
}
