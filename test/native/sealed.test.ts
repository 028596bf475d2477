import { beforeAll, describe, expect, it } from 'vitest';
import * as layout from '../../src/backend/packet-path/tables/session-layout.js';
import * as system from '../../src/system/native.js';
import { describeWith } from '../helpers/requires.js';
import { BUILDS, isBuilt, runChild } from './child.js';

const EMSGSIZE = -90;
const EINVAL = -22;
const camelCase = (name: string) => name.toLowerCase().replace(/_(.)/g, (_, letter) => letter.toUpperCase());

describe('the layout of sessions', () => {
  it('is the same in C and in TypeScript', () => {
    const ours = Object.fromEntries(Object.entries(layout).map(([name, value]) => [camelCase(name), value]));
    expect(system.native.layout).toMatchObject(ours);
    const theirs = Object.keys(system.native.layout).filter((name) =>
      /^(header|tally|line|slot|index)[A-Z]/.test(name),
    );
    expect(theirs.filter((name) => !(name in ours) && name !== 'slotBytes')).toEqual([]);
  });
});

for (const build of BUILDS.filter(isBuilt)) {
  describeWith(['root', 'tun'], `a sealed wire on a real socket, ${build} build`, () => {
    let out: ReturnType<typeof runChild> = {};
    beforeAll(() => {
      out = runChild('./sealed.child.mjs', build);
    });

    it('seals packets and trains as node:crypto opens them, padded but not beyond the MTU', () => {
      expect(out.sealed).toBe(14);
      expect(out.sent).toBe(14);
      expect([out.wrongTexts, out.wrongPadding]).toEqual([0, 0]);
      expect(out.types).toEqual([4]);
      expect(out.indices).toEqual([0x01020304]);
      const activity = { lastSent: true, lastReceived: false, unansweredSince: true, owedSince: false };
      expect(Object.fromEntries(out.activity as [string, boolean][])).toEqual(activity);
    });

    it('numbers the packets of each session one by one, whatever is sealed beside and not sent', () => {
      const counters = out.counters as number[];
      expect(counters.slice(0, 11)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      expect(counters[11]).toBe(0);
      expect(counters.slice(12, 53)).toEqual(Array.from({ length: 41 }, (_, i) => 11 + i));
      expect(counters.slice(53)).toEqual([1, 2, 3]);
      // Of two sessions; four numbers are of both.
      expect(out.numbersOnce).toBe(56 + 89 - 4);
    });

    it('seals in parts what there is no room for, and sends only what is sealed', () => {
      expect(out.sealedInParts).toEqual([16, 16, 4]);
      expect(out.sendNotSealed).toBe(EINVAL);
      expect([out.sealedAlone, out.sentAlone, out.sentBehind]).toEqual([1, 1, 1]);
      expect([out.sealedTooLarge, out.sentTooLarge, out.sentBehindTooLarge]).toEqual([2, EMSGSIZE, 1]);
      const refused = Object.entries(out).filter(([name]) => name.startsWith('bad.'));
      expect(refused).toHaveLength(6);
      for (const [name, error] of refused) expect(error, name).toMatchObject({ code: 'EINVAL', syscall: 'sealUdp' });
    });

    it('keeps packets until there is a session, asks for one once, and then sends them in order', () => {
      expect(out.noSession).toEqual([-system.ENOKEY, { news: 1 }]);
      expect(out.noSessionAgain).toEqual([-system.ENOKEY, {}]);
      expect(out.attention).toEqual({ line: 3, wantsSession: true, confirmed: [] });
      expect(out.noAttention).toBe('none');
      expect([out.woken, out.signalled, out.signalledLater]).toEqual([1, system.STOP_SIGNALLED, 0]);
      expect(out.stagedTally).toEqual({ staged_sent: 4, staged_bytes: 230 });
      expect(out.stagedSent).toEqual([0, 1, 2, 3].map((counter) => [counter, 64]));
    });

    it('sends an empty packet when it is told to, and gives up what waits', () => {
      expect(out.keepaliveTally).toEqual({ keepalives_out: 1 });
      expect(out.keepalive).toEqual([0]);
      expect(out.bounded).toEqual({ staged_dropped: 12 });
      expect(out.droppedStaged).toEqual({ staged_dropped: 128 });
      const crowd = out.crowd as number[];
      expect(crowd.slice(0, 4)).toEqual([0, 0, 0, 0]);
      // What was dropped and what was left is all that there was.
      expect(crowd[4] + (out.crowdDropped as number)).toBe(200);
      expect(crowd[4]).toBeGreaterThan(0);
    });

    it('uses no key that is too old or used up, wipes what is given up, and never gives a number twice', () => {
      expect(out.released).toBe(true);
      expect(out.tooOld).toBe(-system.ENOKEY);
      expect(out.usedUp).toEqual([1, 1, -system.ENOKEY, -system.ENOKEY]);
      expect(out.lastCounters).toEqual([String(2n ** 64n - 2n ** 13n - 3n), String(2n ** 64n - 2n ** 13n - 2n)]);
    });

    it('opens what node:crypto has sealed, without its padding, and hears empty packets', () => {
      expect(out.openedRight).toBe(true);
      expect(out.openedTally).toEqual({});
      expect(out.odd).toEqual([40, 40, 3]);
      expect(out.emptyPacket).toEqual([0, { keepalives_in: 1 }]);
    });

    it('follows a peer that moves, if the packet is authentic and new', () => {
      expect(out.roamed).toEqual([
        [6000, ['bad_tag']],
        [6001, []],
        [6001, ['replay']],
      ]);
    });

    it('tells once that a peer has the next key, which the main thread then makes the current one', () => {
      expect([out.confirmed, out.confirmedOnce, out.stillCurrent, out.promoted]).toEqual([true, 'none', true, true]);
    });

    it('delivers nothing that is hostile, and counts each datagram once, by its reason', () => {
      const reasons = out.reasons as Record<string, unknown>;
      expect(Object.keys(reasons)).toHaveLength(19);
      expect(Object.entries(reasons).filter(([, result]) => result !== 'ok')).toEqual([]);
      expect(out.stillGood).toBe(1);
    });

    it('hands messages of handshakes over if they may be for us, as many as there is room for', () => {
      expect([out.waiting, out.mails, out.noMail]).toEqual([4, true, 'none']);
      expect(out.flood).toEqual({ handshakes_in: 64, news: 64, mailbox_full: 236 });
      expect(out.dataBehindFlood).toEqual({});
      expect(out.emptied).toBe(0);
    });

    it('takes each number once, within a window that a plain set agrees with', () => {
      expect(out.windowWrong).toEqual([]);
      expect(out.windowSeen).toEqual([true, true]);
    });

    it('opens trains as they were sealed', () => {
      expect([out.trainsSent, out.trainsOpened, out.trainsWrong]).toEqual([4, [127, 127], 0]);
    });

    it('refuses memory that is not as it has to be, and calls without it', () => {
      const refused = Object.entries(out).filter(([name]) => name.startsWith('attach.'));
      expect(refused).toHaveLength(10);
      for (const [name, error] of refused) {
        expect((error as { code: string }).code, name).toMatch(/^ERR_(OUT_OF_RANGE|INVALID_ARG_TYPE)$/);
      }
      expect(out.attachNothing).toMatchObject({ code: 'ERR_MISSING_ARGS' });
      expect(out.notYet).toMatchObject({ code: 'EBADF', syscall: 'receiveSealed' });
      expect(out.twice).toMatchObject({ code: 'EEXIST', syscall: 'attachSealed' });
      expect(out.detached).toMatchObject({ code: 'EBADF', syscall: 'attend' });
    });

    it('sends a datagram of the main thread by the same socket', () => {
      expect(out.sendDatagram).toEqual({});
      expect(out.sentDatagram).toEqual(['a handshake']);
      expect(out.sendNowhere).toMatchObject({ code: 'ERR_OUT_OF_RANGE' });
      expect(out.sendTooLarge).toMatchObject({ code: 'EMSGSIZE', syscall: 'sendto' });
    });
  });
}
