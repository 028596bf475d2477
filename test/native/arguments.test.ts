import { beforeAll, describe, expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { BUILDS, type Build, isBuilt, runChild } from './child.js';

const EINVAL = { code: 'EINVAL', errno: -22 };
const EBADF = { code: 'EBADF', errno: -9 };
const RANGE = { code: 'ERR_OUT_OF_RANGE' };
const TYPE = { code: 'ERR_INVALID_ARG_TYPE' };

const EXPECTED: Record<string, object> = {
  tunNoName: { code: 'ERR_MISSING_ARGS' },
  tunEmptyName: RANGE,
  tunLongName: { ...RANGE, message: 'name: expected 1 to 15 bytes of text' },
  tunNul: { ...RANGE, message: 'name: expected text without a NUL' },
  tunNumber: { ...TYPE, message: 'name: expected a string' },
  tunNotTun: { ...EINVAL, syscall: 'TUNSETIFF', isError: true },
  udpBadPort: { ...RANGE, message: 'port: expected a whole number from 0 to 65535' },
  udpFraction: RANGE,
  udpNaN: RANGE,
  udpHugeBuffer: RANGE,
  udpTaken: { code: 'EADDRINUSE', syscall: 'bind' },
  notifyNobody: { code: 'ENOENT', syscall: 'sendto' },
  notifyNul: RANGE,
  notifyLongPath: RANGE,
  persistStdout: EBADF,
  signalStdout: EBADF,
  closeStdout: EBADF,
  closeNegative: RANGE,
  persistEvent: EBADF,
  dropsOfEvent: EBADF,
  probeRingEvent: EBADF,
  signalClosed: EBADF,
  closeTwice: EBADF,
  waitDetached: EBADF,
  readTunDetached: EBADF,
  sendUdpDetached: EBADF,
  receiveUdpDetached: EBADF,
  writeTunDetached: EBADF,
  finishChecksumsDetached: EBADF,
  verifyChecksumsDetached: EBADF,
  openRingDetached: EBADF,
  closeRingDetached: EBADF,
  attachNothing: { ...TYPE, message: 'tun: expected a number' },
  attachNull: { ...TYPE, message: 'path: expected an object' },
  attachNumber: { ...TYPE, message: 'path: expected an object' },
  closeAttached: { code: 'EBUSY' },
  attachWrongKind: EBADF,
  attachWrongArray: { ...TYPE, message: 'sends: expected an Int32Array on a SharedArrayBuffer that cannot grow' },
  attachNoClock: RANGE,
  waitInterest: RANGE,
  waitTimeout: RANGE,
  waitSpin: RANGE,
  readTooMany: RANGE,
  readNegative: RANGE,
  readPastEnd: RANGE,
  readEnoughNegative: RANGE,
  readHeaderHuge: RANGE,
  readSegmentHuge: RANGE,
  readSegmentSmall: { ...EINVAL, syscall: 'readTun' },
  readNoRoom: { result: 0 },
  finishTooMany: RANGE,
  verifyNegative: RANGE,
  receiveTooMany: RANGE,
  sendTooMany: RANGE,
  sendPastEnd: RANGE,
  sendNone: { result: 0 },
  'send.portZero': EINVAL,
  'send.segmentHuge': EINVAL,
  attachTwoSlots: {},
  attachOutboundSlot: { ...RANGE, message: 'outboundSlab: expected a slot for each record of tunPackets' },
  attachInboundSlot: { ...RANGE, message: 'inboundSlab: expected a slot for each record of datagrams' },
  attachInboundPage: { ...RANGE, message: 'inboundSlab: expected a slot for each record of datagrams' },
  attachSmallSlabs: RANGE,
  readSmallLimit: { result: 0 },
  readNoRecords: RANGE,
  receiveNoRecords: RANGE,
  manyEvents: { code: 'EMFILE' },
};

describeWith(['root', 'tun'], 'the addon refuses bad arguments', () => {
  it.each(BUILDS)('in the %s build', { timeout: 60_000 }, (build) => {
    expect(isBuilt(build), `native/build/${build}: run "npm run build"`).toBe(true);
    const out = runChild('./arguments.child.mjs', build);
    for (const [name, expected] of Object.entries(EXPECTED)) expect(out[name], name).toMatchObject(expected);
    // Records that point outside their memory, for both calls that follow them.
    const outside = Object.keys(out).filter((name) => /^(send|write)\./.test(name));
    expect(outside).toHaveLength(30);
    for (const name of outside) expect(out[name], name).toMatchObject(EINVAL);
    expect(out.leakedFds).toBe(0);
    expect(out.eventsOpened).toBe(64);
  });
});

describeWith(['root', 'tun'], 'attach() with what JavaScript can change afterwards or meanwhile', () => {
  describe.each(BUILDS)('in the %s build', (build) => {
    let out: ReturnType<typeof runHostile>;
    beforeAll(() => {
      out = runHostile(build);
    }, 60_000);

    it('takes typed arrays of one kind on shared memory that cannot grow, and says so; else all stays as it was', () => {
      // 11 arrays in 16 ways, and one way once.
      expect(Object.keys(out.refused)).toHaveLength(11 * 16 + 1);
      for (const [name, result] of Object.entries(out.refused)) {
        const [array = ''] = name.split(' ');
        const type = /Slab|headers/.test(array) ? 'a Uint8Array' : 'an Int32Array';
        const message = `${array}: expected ${type} on a SharedArrayBuffer that cannot grow`;
        expect(result, name).toMatchObject({ ...TYPE, message, kept: true });
      }
      expect(out.sendAfterShrink).toMatchObject(EINVAL);
    });

    it('takes any of them: empty, within a buffer, twice, of another realm, of WebAssembly', () => {
      expect(Object.keys(out.accepted)).toHaveLength(5);
      for (const [name, result] of Object.entries(out.accepted)) expect(result, name).toEqual({ attached: true });
    });

    it('is not harmed by a getter that attaches and detaches: the call that ends last has its way', () => {
      expect(Object.keys(out.reentrant)).toHaveLength(14 * 5);
      for (const [name, result] of Object.entries(out.reentrant)) expect(result, name).toEqual({ attached: true });
      expect(out.innerStays).toMatchObject({ ...EBADF, syscall: 'attach' });
      expect(out.innerAttached).toBe(true);
    });

    it('passes on what a getter throws, and the path attached before stays', () => {
      const { endless, revoked, ...thrown } = out.thrown;
      expect(Object.keys(thrown)).toHaveLength(14);
      for (const [name, result] of Object.entries(thrown)) {
        expect(result, name).toMatchObject({ code: 'MINE', message: 'mine', kept: true });
      }
      expect(endless).toMatchObject({ message: 'Maximum call stack size exceeded', kept: true });
      expect(revoked).toMatchObject({ isError: true, kept: true });
      expect(out.fromTheDeep).toBe('attached');
    });

    it('holds no descriptor that a getter closed, nor another one of its number', () => {
      expect(out.closedMeanwhile).toMatchObject({ ...EBADF, syscall: 'attach', kept: true });
      expect(out.sameNumber).toBe(true);
      expect(out.replacedMeanwhile).toMatchObject({ ...EBADF, syscall: 'attach', kept: true });
    });

    it('reads each property of a Proxy once, and all of them before it looks at any', () => {
      expect(out.proxyReadsResult).toEqual({});
      expect(out.proxyReads).toEqual(out.names);
      expect(out.proxyReadsBadResult).toMatchObject({ ...TYPE, message: 'tun: expected a number' });
      expect(out.proxyReadsBad).toEqual(out.names);
    });

    it('is not harmed by JavaScript that runs while it throws, or by the end of its thread', () => {
      expect(out.throwing).toEqual(Array(6).fill(true));
      expect(out.afterThrowing).toBe(true);
      expect(out.heldByThread).toMatchObject({ code: 'EBUSY' });
      expect(out.leakedFds).toBe(0);
    });
  });
});

type Results = Record<string, Record<string, unknown>>;

function runHostile(build: Build) {
  return runChild('./hostile.child.mjs', build) as Record<string, unknown> &
    Record<'refused' | 'accepted' | 'reentrant' | 'thrown', Results>;
}
