import { expect, it } from 'vitest';
import { NetlinkError } from '../../../../src/system/netlink/error.js';

it.each([
  [-1, 'EPERM'],
  [-2, 'ENOENT'],
  // What a kernel says to a kind of link that it does not have; libuv has another name for it.
  [-95, 'EOPNOTSUPP'],
])('the refusal %i is called as in the sources of the kernel', (errno, code) => {
  const error = NetlinkError.fromErrno('create x', errno);
  expect(error).toMatchObject({ code, errno, message: `netlink: create x: Request rejected: ${code}` });
});

it('of what the package throws has the same names', () => {
  expect(NetlinkError.fromPackage('set link', new Error('Request rejected: ENOTSUP')).code).toBe('EOPNOTSUPP');
  expect(NetlinkError.fromPackage('set link', new Error('Timeout has been reached')).code).toBe('ETIMEDOUT');
});
