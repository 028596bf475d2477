import type { SessionsReport } from '../backend/backend.js';
import type { Lease } from '../core/lease.js';
import type { ProbedSessions } from '../health/probe-turns.js';

/** Undefined: packets go without one. */
export function probedSessions(report: SessionsReport | undefined): ProbedSessions<Lease> | undefined {
  if (report === undefined) return undefined;
  const { begin, timing } = report;
  const { rekeyAfterMs } = timing;
  return {
    lastsMs: timing.rejectAfterMs,
    isFresh({ subnet }) {
      const { hasSession = false, handshakeAgeMs = rekeyAfterMs } = report.of(subnet) ?? {};
      // What is sent by an older key begins another handshake.
      return hasSession && handshakeAgeMs < rekeyAfterMs;
    },
    begin: begin && (({ subnet }) => begin(subnet)),
  };
}
