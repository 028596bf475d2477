/** RFC 6479 in its simplest form, what faster ones are compared with: the greatest counter, and a set of those seen below it. */
export function createReplayWindow(size = 8192 - 64) {
  let greatest = -1n;
  const seen = new Set<bigint>();
  /** Whether it is new, and remembers it: only to be asked about what is authentic. */
  return function accepts(counter: bigint): boolean {
    if (counter + BigInt(size) <= greatest || seen.has(counter)) return false;
    seen.add(counter);
    if (counter > greatest) {
      greatest = counter;
      for (const old of seen) if (old + BigInt(size) <= greatest) seen.delete(old);
    }
    return true;
  };
}
