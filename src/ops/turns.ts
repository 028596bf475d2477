export interface Turns<T> {
  /** Resolves when it is this one's turn, with false if it gave up first. */
  take(who: T): Promise<boolean>;
  giveUp(who: T): void;
}

/** Lets one at a time go on, in the order in which they asked, and the next one no sooner than the interval after. */
export function createTurns<T>(intervalMs: number): Turns<T> {
  const waiting = new Map<T, (isTurn: boolean) => void>();
  let timer: NodeJS.Timeout | undefined;

  function next(): void {
    timer = undefined;
    for (const [who, go] of waiting) {
      waiting.delete(who);
      timer = setTimeout(next, intervalMs);
      return go(true);
    }
  }

  return {
    take: (who) =>
      new Promise((resolve) => {
        waiting.set(who, resolve);
        if (timer === undefined) next();
      }),
    giveUp(who) {
      waiting.get(who)?.(false);
      waiting.delete(who);
    },
  };
}
