import type { SessionsReport } from '../backend/backend.js';
import type { Lease } from '../core/lease.js';
import type { ProbedSessions } from '../health/probe-turns.js';

/** What is sent by an older key begins another handshake (REKEY_AFTER_TIME of WireGuard). */
const FRESH_MS = 120_000;

/** Undefined: an echo costs the backend what any packet does. */
export function probedSessions(report: SessionsReport | undefined): ProbedSessions<Lease> | undefined {
  const begin = report?.begin;
  if (report === undefined || begin === undefined) return undefined;
  return {
    isFresh({ subnet }) {
      const { hasSession = false, handshakeAgeMs = FRESH_MS } = report.of(subnet) ?? {};
      return hasSession && handshakeAgeMs < FRESH_MS;
    },
    begin: ({ subnet }) => begin(subnet),
  };
}
