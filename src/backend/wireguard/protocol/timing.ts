/** The limits of the protocol (paper, 6.1), in milliseconds: to be shortened by tests alone. */
export interface Timing {
  /** Age of a key from which its initiator makes a new one, if it sends. */
  readonly rekeyAfterMs: number;
  /** Age at which a key is dead. */
  readonly rejectAfterMs: number;
  /** Between two initiations to one peer, and up to so much more. */
  readonly rekeyTimeoutMs: number;
  readonly rekeyJitterMs: number;
  /** How long a handshake is tried. */
  readonly rekeyAttemptMs: number;
  /** Data was received, and nothing has been sent for so long: the peer wants a sign of life. */
  readonly keepaliveMs: number;
  /** Age of a cookie: its maker changes its secret then, and its holder stops a little before. */
  readonly cookieMs: number;
  readonly cookieHeldMs: number;
  /** Least distance of two initiations of one peer. */
  readonly floodMs: number;
}

export const STANDARD_TIMING: Timing = {
  rekeyAfterMs: 120_000,
  rejectAfterMs: 180_000,
  rekeyTimeoutMs: 5_000,
  rekeyJitterMs: 333,
  rekeyAttemptMs: 90_000,
  keepaliveMs: 10_000,
  cookieMs: 120_000,
  cookieHeldMs: 115_000,
  floodMs: 20,
};
