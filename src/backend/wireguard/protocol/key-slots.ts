/** A session as the protocol knows it: its keys are elsewhere (sessions.ts). */
export interface SessionKey {
  readonly index: number;
  readonly bornAt: number;
  /** We have made it: only the initiator makes a new one when it grows old. */
  readonly isInitiator: boolean;
}

/** The three of a peer. All receive, `current` alone sends. */
export interface KeySlots {
  readonly previous: SessionKey | undefined;
  readonly current: SessionKey | undefined;
  /** Made by the peer, which has not used it yet: nothing shows that it has our response. */
  readonly next: SessionKey | undefined;
}

export const NO_KEYS: KeySlots = { previous: undefined, current: undefined, next: undefined };

/** Of a response that we got: the peer has the key already. A `next` that the peer may use by now is worth more than what was current. */
export function afterInitiating({ current, next }: KeySlots, key: SessionKey): KeySlots {
  return { previous: next ?? current, current: key, next: undefined };
}

/** Of a response that we send. */
export function afterResponding({ current }: KeySlots, key: SessionKey): KeySlots {
  return { previous: undefined, current, next: key };
}

/** The first authentic packet under `next`. */
export function afterConfirming({ current, next }: KeySlots): KeySlots {
  return { previous: current, current: next, next: undefined };
}

export function withoutExpired(slots: KeySlots, isExpired: (key: SessionKey) => boolean): KeySlots {
  const kept = (key: SessionKey | undefined) => (key !== undefined && isExpired(key) ? undefined : key);
  return { previous: kept(slots.previous), current: kept(slots.current), next: kept(slots.next) };
}

export const keysIn = ({ previous, current, next }: KeySlots): SessionKey[] =>
  [previous, current, next].filter((key) => key !== undefined);
