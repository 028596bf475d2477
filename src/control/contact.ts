import { bootNow } from './boot-clock.js';
import type { JoinedState, Keeping } from './membership.js';

export const secondsSince = (moment: number) => (bootNow() - moment) / 1000;

/** When the store was last heard, and whether what we know of it is current. */
export interface Contact {
  /** It has answered, or told anything. */
  onAnswer(): void;
  /** What we know is current (undefined), or why it is not. */
  onWatch(problem: string | undefined): void;
  /** @param answeredAt its last answer to somebody else of ours, by bootNow() */
  state(
    answeredAt: number | undefined,
  ): Pick<JoinedState, 'isCurrent' | 'staleSeconds' | 'problem' | 'contactAgeSeconds'>;
}

/** @param degraded why it was not heard yet */
export function createContact(degraded: string | undefined, onCurrent: Keeping['onCurrent']): Contact {
  let contactAt = degraded === undefined ? bootNow() : undefined;
  let problem = degraded;
  /** Undefined: what we know is current. Not contactAt: where nothing changes the last contact is minutes ago. */
  let staleSince: number | undefined = bootNow();

  function onAnswer(): void {
    contactAt = bootNow();
  }

  return {
    onAnswer,
    onWatch(reason) {
      const now = bootNow();
      const isCurrent = reason === undefined;
      problem = reason;
      if (isCurrent) onAnswer();
      if (isCurrent === (staleSince === undefined)) return;
      staleSince = isCurrent ? undefined : now;
      onCurrent(isCurrent);
    },
    state(answeredAt) {
      const moments = [contactAt, answeredAt].filter((moment) => moment !== undefined);
      return {
        isCurrent: staleSince === undefined,
        staleSeconds: staleSince === undefined ? 0 : secondsSince(staleSince),
        problem,
        contactAgeSeconds: moments.length === 0 ? undefined : secondsSince(Math.max(...moments)),
      };
    },
  };
}
