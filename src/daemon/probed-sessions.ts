import type { SessionsReport } from '../backend/backend.js';
import type { Lease } from '../core/lease.js';
import { REKEY_AFTER_MS } from '../core/session-times.js';
import type { ProbedSessions } from '../health/probe-turns.js';

/** Undefined: packets go without one. */
export function probedSessions(report: SessionsReport | undefined): ProbedSessions<Lease> | undefined {
  if (report === undefined) return undefined;
  const { begin } = report;
  return {
    isFresh({ subnet }) {
      const { hasSession = false, handshakeAgeMs = REKEY_AFTER_MS } = report.of(subnet) ?? {};
      // What is sent by an older key begins another handshake.
      return hasSession && handshakeAgeMs < REKEY_AFTER_MS;
    },
    begin: begin && (({ subnet }) => begin(subnet)),
  };
}
