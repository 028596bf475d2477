/** What can happen to a node, by area; docs/events.md tells of each. */
export const EVENT_KINDS = [
  'node.starting',
  'node.ready',
  'node.degraded',
  'node.stopped',
  'node.failed',
  'peer.added',
  'peer.changed',
  'peer.removed',
  'peer.silent',
  'peer.unreachable',
  'peer.ok',
  'lease.taken',
  'lease.renumbered',
  'lease.lost',
  'lease.restored',
  'device.repaired',
  'host.followed',
  'host.repaired',
  'host.problem',
  'host.restored',
  'config.changed',
  'config.invalid',
  'config.deleted',
  'config.current',
  'firewall.repaired',
  'firewall.problem',
  'firewall.restored',
  'registry.lost',
  'registry.back',
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

export const areaOf = (kind: EventKind): string => kind.split('.')[0];
export const EVENT_AREAS: readonly string[] = [...new Set(EVENT_KINDS.map(areaOf))];

export type EventField = string | number | boolean | null;

/** Something that has happened. All texts are printable, and bounded. */
export interface NodeEvent {
  /** Grows with each event, also over restarts and whatever the clock does: the order in which they happened. */
  readonly id: number;
  /** By the clock of the host, which may be set. */
  readonly time: string;
  readonly kind: EventKind;
  /** Whom it concerns: the name of a peer, else a subnet or an interface; null: this node. */
  readonly subject: string | null;
  readonly line: string;
  readonly fields: Readonly<Record<string, EventField>>;
}
