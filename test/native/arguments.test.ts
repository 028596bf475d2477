import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { BUILDS, isBuilt, runChild } from './child.js';

const EINVAL = { code: 'EINVAL', errno: -22 };
const EBADF = { code: 'EBADF', errno: -9 };
const RANGE = { code: 'ERR_OUT_OF_RANGE' };
const TYPE = { code: 'ERR_INVALID_ARG_TYPE' };

const EXPECTED: Record<string, object> = {
  tunNoName: { code: 'ERR_MISSING_ARGS' },
  tunEmptyName: RANGE,
  tunLongName: RANGE,
  tunNumber: TYPE,
  tunNotTun: { ...EINVAL, syscall: 'TUNSETIFF', isError: true },
  udpBadPort: RANGE,
  udpFraction: RANGE,
  udpNaN: RANGE,
  udpHugeBuffer: RANGE,
  udpTaken: { code: 'EADDRINUSE', syscall: 'bind' },
  notifyNobody: { code: 'ENOENT', syscall: 'sendto' },
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
  attachNothing: TYPE,
  attachNull: { isError: true },
  closeAttached: { code: 'EBUSY' },
  attachWrongKind: EBADF,
  attachWrongArray: TYPE,
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
  readSmallSlab: { result: 0 },
  receiveSmallSlab: { result: 0 },
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
