import { beforeAll, describe, expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { BUILDS, runChild } from './child.js';

const address = (a: number, b: number, c: number, d: number) => (a << 24) | (b << 16) | (c << 8) | d;
const LOOPBACK = address(127, 0, 0, 1);
const PEER = address(10, 99, 0, 2);

const RANGE = { code: 'ERR_OUT_OF_RANGE' };
const TYPE = { code: 'ERR_INVALID_ARG_TYPE', message: 'records: expected a Float64Array' };
const EBADF = { code: 'EBADF', errno: -9 };
const MISSING = { code: 'ERR_MISSING_ARGS' };

const REFUSED: Record<string, object> = {
  openNothing: MISSING,
  openAddress: RANGE,
  openMark: RANGE,
  openFragment: { ...RANGE, message: 'dontFragment: expected a whole number from 0 to 1' },
  openTtl: RANGE,
  openBuffer: RANGE,
  sendNothing: MISSING,
  sendEvent: EBADF,
  sendId: RANGE,
  sendSequence: RANGE,
  sendPayload: { ...RANGE, message: 'payloadBytes: expected a whole number from 0 to 65507' },
  receiveEvent: EBADF,
  receiveNothing: TYPE,
  receiveFloats: TYPE,
  receiveArray: TYPE,
  receiveProxy: TYPE,
  receiveClosed: EBADF,
};

describeWith(['root', 'tun', 'iptables'], 'ICMP echo', () => {
  describe.each(BUILDS)('in the %s build', (build) => {
    let out: ReturnType<typeof runChild> = {};
    beforeAll(() => {
      out = runChild('./echo.child.mjs', build);
    }, 60_000);

    it('is sent and answered, with the times of both', () => {
      expect(out.echoes).toEqual([
        ['reply', LOOPBACK, 7, 65535, 100],
        ['request', LOOPBACK, 7, 65535, 100],
      ]);
      expect(out.times).toBe(true);
      expect(out.isNow).toBe(true);
      expect(out.largest).toEqual([
        ['reply', LOOPBACK, 9, 2, 65507],
        ['request', LOOPBACK, 9, 2, 65507],
      ]);
      expect(out.nothing).toEqual([]);
    });

    it('has the address that it is bound to, and hears of no other', () => {
      expect(out.notForBound).toBe(0);
      expect(out.bound).toEqual([['reply', LOOPBACK, 8, 1, 0]]);
      expect(out.boundSeenByAny).toEqual([
        ['reply', LOOPBACK, 8, 1, 0],
        ['request', address(127, 0, 0, 2), 8, 1, 0],
      ]);
    });

    it('is refused with DF where it does not fit', () => {
      expect(out.fits).toEqual([
        ['reply', LOOPBACK, 10, 1, 1372],
        ['request', LOOPBACK, 10, 1, 1372],
      ]);
      expect(out.tooLarge).toMatchObject({ code: 'EMSGSIZE', errno: -90, syscall: 'sendmsg' });
    });

    it('says what the kernel says when it cannot be sent', () => {
      expect(out.noRoute).toMatchObject({ code: 'ENETUNREACH', syscall: 'sendmsg' });
      expect(out.noHost).toMatchObject({ code: 'EHOSTUNREACH', syscall: 'sendmsg' });
      expect(out.dropped).toMatchObject({ code: 'EPERM', syscall: 'sendmsg' });
      const message = 'cannot send ICMP echoes from 10.9.0.1: the address is not on this host, expected one of its own';
      expect(out.notOurs).toMatchObject({ code: 'socket', message });
    });

    it('goes where rules send what has its mark', () => {
      expect([out.marked, out.otherMark]).toEqual(['sent', 'ENETUNREACH']);
    });

    it('has the TTL that it was given', () => {
      expect(out.ttl).toBe(1);
    });

    it('is told from what is malformed, cut, of another type or wrong by its checksum', () => {
      expect(out.arrived).toEqual([
        ['reply', PEER, 77, 2, 6],
        ['reply', PEER, 77, 3, 7],
        ['request', PEER, 77, 4, 0],
      ]);
      expect(out.silence).toBe(0);
    });

    it('is read as far as there is room, of memory of any kind, and not for ever', () => {
      expect(out.fitting).toEqual([2, 2, 1, 0]);
      expect(out.restOfRoom).toEqual([0, 0, 0, 0, 0]);
      expect(out.noRoom).toBe(0);
      expect(out.bounded).toEqual([0, 1, 9]);
      expect(out.onShared).toEqual([1, 11]);
      expect(out.detached).toBe(0);
    });

    it('refuses bad arguments', () => {
      const refused = out.refused as Record<string, object>;
      expect(Object.keys(refused).sort()).toEqual(Object.keys(REFUSED).sort());
      for (const [name, expected] of Object.entries(REFUSED)) expect(refused[name], name).toMatchObject(expected);
    });
  });
});
