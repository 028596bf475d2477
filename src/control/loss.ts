import type { RudderError } from '../core/errors.js';

/** The end of our claim to a subnet, which may come once. */
export interface Loss {
  readonly lost: Promise<never>;
  isLost(): boolean;
  lose(error: RudderError): void;
}

export function createLoss(): Loss {
  let hasLost = false;
  let reject: (error: RudderError) => void = () => undefined;
  const lost = new Promise<never>((_, rejectLost) => {
    reject = rejectLost;
  });
  lost.catch(() => undefined); // nobody may be waiting for it any more
  return {
    lost,
    isLost: () => hasLost,
    lose(error) {
      hasLost = true;
      reject(error);
    },
  };
}
