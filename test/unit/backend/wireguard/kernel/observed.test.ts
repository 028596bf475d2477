import { describe, expect, it } from 'vitest';
import { type Observed, observe, sessionOf } from '../../../../../src/backend/wireguard/kernel/observed.js';
import type { WireguardPeer } from '../../../../../src/system/netlink.js';

const TODAY = 1_800_000_000_000;
const at = (seconds: number) => ({ now: 5000 + seconds * 1000, today: TODAY + seconds * 1000 });
const peer = (outBytes: number, inBytes: number, handshakeSecond?: number): WireguardPeer => ({
  publicKey: Buffer.alloc(32),
  presharedKey: Buffer.alloc(32),
  endpoint: undefined,
  keepaliveSeconds: 0,
  handshakeAt: handshakeSecond === undefined ? undefined : TODAY + handshakeSecond * 1000,
  inBytes,
  outBytes,
  allowed: [],
});

/** Looks at these, two seconds apart. */
function look(...peers: readonly WireguardPeer[]): Observed {
  return peers.reduce<Observed | undefined>((before, next, i) => observe(before, next, at(2 * i)), undefined)!;
}

describe('a peer of the kernel', () => {
  it('that was never spoken to has no session, and is not tried', () => {
    const seen = look(peer(0, 0), peer(0, 0));
    expect(seen).toMatchObject({ heardAt: undefined, unansweredSince: undefined });
    expect(sessionOf(seen, at(4), 0)).toEqual({
      handshakeAgeMs: undefined,
      hasSession: false,
      tryingForMs: undefined,
      endpoint: undefined,
    });
  });

  it('has a session for three minutes from a handshake on', () => {
    const seen = look(peer(0, 0), peer(148, 92, 1), peer(300, 200, 1));
    expect(sessionOf(seen, at(4), 0)).toMatchObject({ handshakeAgeMs: 3000, hasSession: true, tryingForMs: undefined });
    expect(sessionOf(seen, at(182), 0)).toMatchObject({ handshakeAgeMs: 181_000, hasSession: false });
  });

  it('is tried from the first initiation on, and no more after the last', () => {
    const seen = look(peer(0, 0), peer(148, 0), peer(148, 0), peer(148, 0), peer(296, 0));
    expect(sessionOf(seen, at(8), 0)).toMatchObject({ hasSession: false, tryingForMs: 6000 });
    expect(sessionOf(seen, at(19), 0).tryingForMs).toBeUndefined();
    // Where thousands are looked at, a look comes more rarely.
    expect(sessionOf(seen, at(19), 30_000).tryingForMs).toBe(17_000);
  });

  it('with a session owes an answer for some seconds before that is told', () => {
    const flow = Array.from({ length: 11 }, (_, i) => peer(1000 * (i + 1), 92, 0));
    const seen = look(peer(0, 92, 0), ...flow);
    expect(sessionOf(look(peer(0, 92, 0), ...flow.slice(0, 6)), at(12), 0).tryingForMs).toBeUndefined();
    expect(sessionOf(seen, at(22), 0).tryingForMs).toBe(20_000);
    const answered = observe(seen, peer(20_000, 200, 0), at(24));
    expect(sessionOf(answered, at(24), 0).tryingForMs).toBeUndefined();
    expect(answered.heardAt).toBe(at(24).now);
  });

  it('of an earlier run was heard at its last handshake at least', () => {
    expect(look(peer(500, 500, -60)).heardAt).toBe(at(-60).now);
    // A clock that was set back says nothing of a future.
    expect(look(peer(500, 500, 60)).heardAt).toBe(at(0).now);
  });

  it('that was made anew counts from the beginning', () => {
    const seen = look(peer(0, 0), peer(500, 0), peer(148, 0));
    expect(seen.unansweredSince).toBeUndefined();
    expect(observe(seen, peer(296, 0), at(6)).unansweredSince).toBe(at(6).now);
  });

  it('has had what was counted since this run looks, and that never falls', () => {
    expect(look(peer(500, 300)).total).toEqual({ outBytes: 0, inBytes: 0 });
    expect(look(peer(500, 300), peer(700, 400)).total).toEqual({ outBytes: 200, inBytes: 100 });
    expect(look(peer(500, 300), peer(700, 400), peer(148, 0)).total).toEqual({ outBytes: 348, inBytes: 100 });
  });
});
