/** Of WireGuard's sessions (paper, 6.1), in milliseconds, for all who have to reckon with them. */

/** Age of a key from which its initiator makes a new one, if it sends. */
export const REKEY_AFTER_MS = 120_000;
/** Age at which a key is dead. */
export const REJECT_AFTER_MS = 180_000;
