import { z } from 'zod';

/** What a node tells the others of itself: how it sees each of them. Ages are in seconds. */
export interface Summary {
  readonly host: string | null;
  readonly version: string;
  readonly ready: boolean;
  readonly peers: readonly PeerView[];
}

export interface PeerView {
  readonly subnet: string;
  /** Since anything came from it; null: never. */
  readonly heardSeconds: number | null;
  /** Since it answered a probe; null: never. */
  readonly answeredSeconds: number | null;
  /** Probes without an answer since then. */
  readonly misses: number;
  readonly rttMs: number | null;
  /** Why nothing can be sent to it; null: something can. */
  readonly obstacle: string | null;
}

const age = z.number().min(0).nullable();
const text = (most: number) => z.string().max(most);

/** Another node may run another version, or be broken into. */
export const summarySchema = z.object({
  host: text(253).nullable(),
  version: text(60),
  ready: z.boolean(),
  peers: z
    .array(
      z.object({
        subnet: text(18),
        heardSeconds: age,
        answeredSeconds: age,
        misses: z.number().min(0),
        rttMs: age,
        obstacle: text(500).nullable(),
      }),
    )
    .max(70_000),
});
