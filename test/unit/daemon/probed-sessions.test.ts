import { expect, it, vi } from 'vitest';
import type { SessionReport, SessionsReport } from '../../../src/backend/backend.js';
import { parseSubnet } from '../../../src/core/address-text.js';
import type { Lease } from '../../../src/core/lease.js';
import { probedSessions } from '../../../src/daemon/probed-sessions.js';

const lease = { subnet: parseSubnet('10.240.1.0/24')! } as Lease;
const begin = vi.fn();
const timing = { rekeyAfterMs: 120_000, rejectAfterMs: 180_000 };

function sessionsWith(session: Partial<SessionReport> | undefined) {
  const of = () => session as SessionReport | undefined;
  return probedSessions({ of, begin, timing } as unknown as SessionsReport)!;
}

it.each([
  ['a young one', { hasSession: true, handshakeAgeMs: 119_000 }, true],
  ['one by which an echo would begin the next', { hasSession: true, handshakeAgeMs: 120_000 }, false],
  ['one that has ended', { hasSession: false, handshakeAgeMs: 500 }, false],
  ['none yet', { hasSession: false, handshakeAgeMs: undefined }, false],
  ['no peer', undefined, false],
])('knows %s', (_, session, isFresh) => {
  expect(sessionsWith(session).isFresh(lease)).toBe(isFresh);
});

it('asks for one', () => {
  sessionsWith(undefined).begin!(lease);
  expect(begin).toHaveBeenCalledExactlyOnceWith(lease.subnet);
});

it('leaves it to the echo where a packet begins one, and to nobody where nothing is encrypted', () => {
  expect(probedSessions(undefined)).toBeUndefined();
  const byPackets = probedSessions({ of: () => undefined, begin: undefined, timing } as unknown as SessionsReport)!;
  expect([byPackets.begin, byPackets.isFresh(lease)]).toEqual([undefined, false]);
});
