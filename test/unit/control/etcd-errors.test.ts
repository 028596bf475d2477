import { describe, expect, it } from 'vitest';
import { type EtcdIdentity, toRudderError } from '../../../src/control/etcd-errors.js';
import { RudderError } from '../../../src/core/errors.js';

const URL = 'https://10.0.0.1:2379';
const anonymous: EtcdIdentity = { endpoints: [URL], prefix: '/coreos.com/network' };
const auth = { username: 'rudder', password: 'secret-word' };
const user: EtcdIdentity = { ...anonymous, auth };

const errorOf = (text: string, etcd = anonymous) => toRudderError(new Error(text), etcd);

describe('what the user must mend is etcd-refused, in one line with the remedy', () => {
  it.each([
    [
      'a wrong password',
      '3 INVALID_ARGUMENT: etcdserver: authentication failed, invalid user ID or password',
      user,
      `etcd at ${URL} does not accept the password of user "rudder"; correct --etcd-username and --etcd-password`,
    ],
    [
      'users not enabled',
      '9 FAILED_PRECONDITION: etcdserver: authentication is not enabled',
      user,
      `etcd at ${URL} has no users enabled; leave out --etcd-username and --etcd-password`,
    ],
    [
      'a missing user',
      '3 INVALID_ARGUMENT: etcdserver: user name is empty',
      anonymous,
      `etcd at ${URL} wants a user; give --etcd-username and --etcd-password`,
    ],
    [
      'a role too small',
      '7 PERMISSION_DENIED: etcdserver: permission denied',
      user,
      `etcd at ${URL} denies user "rudder" access to /coreos.com/network/; grant a role that reads and writes that prefix`,
    ],
    [
      'a role too small, without a user',
      '7 PERMISSION_DENIED: etcdserver: permission denied',
      anonymous,
      `etcd at ${URL} denies an anonymous user access to /coreos.com/network/; grant a role that reads and writes that prefix`,
    ],
    [
      'a port without TLS',
      '14 UNAVAILABLE: No connection established. Last error: write EPROTO 00:error:0A00010B:SSL routines::wrong version number',
      anonymous,
      `etcd at ${URL} does not speak TLS; use http:// in --etcd-endpoints or enable TLS on etcd`,
    ],
  ])('%s', (_, text, etcd, line) => {
    const error = errorOf(text, etcd);
    expect(error).toBeInstanceOf(RudderError);
    expect(error.code).toBe('etcd-refused');
    expect(error.message).toBe(line);
  });

  it.each([
    'unable to verify the first certificate',
    'self-signed certificate in certificate chain',
    'self signed certificate',
    'certificate has expired',
    "Hostname/IP does not match certificate's altnames: IP: 10.0.0.1 is not in the cert's list: ",
  ])('a certificate that is not trusted: %s', (reason) => {
    const error = errorOf(`14 UNAVAILABLE: No connection established. Last error: ${reason}. Resolution note: `);
    expect(error.code).toBe('etcd-refused');
    expect(error.message).toBe(
      `no trusted TLS connection to etcd at ${URL}: ${reason}; give the CA that signed etcd's certificate as --etcd-cafile, and a client certificate if etcd asks for one`,
    );
  });
});

describe('what passes by itself is etcd-unavailable', () => {
  it.each([
    [
      '14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED 10.0.0.1:2379. Resolution note: ',
      'connect ECONNREFUSED 10.0.0.1:2379',
    ],
    ['GRPCDeadlineExceededError: 4 DEADLINE_EXCEEDED: Deadline exceeded', 'Deadline exceeded'],
    ['etcd ended the watch stream', 'etcd ended the watch stream'],
    ['14 UNAVAILABLE: etcdserver: no leader', 'etcdserver: no leader'],
    ['revision 5 has been compacted', 'revision 5 has been compacted'],
    ['two\n  lines', 'two lines'],
  ])('%j', (text, reason) => {
    const error = errorOf(text, user);
    expect(error.code).toBe('etcd-unavailable');
    expect(error.message).toBe(`etcd at ${URL} cannot be reached: ${reason}`);
  });

  it('whatever was thrown', () => {
    expect(toRudderError('just text', anonymous).message).toBe(`etcd at ${URL} cannot be reached: just text`);
    expect(toRudderError(undefined, anonymous).code).toBe('etcd-unavailable');
  });
});

it('the cause is kept, and a RudderError stays what it is', () => {
  const cause = new Error('etcdserver: permission denied');
  const error = toRudderError(cause, anonymous);
  expect(error.cause).toBe(cause);
  expect(toRudderError(error, user)).toBe(error);
});

it('all endpoints are named, the password never', () => {
  const both: EtcdIdentity = { ...user, endpoints: ['http://10.0.0.1:2379', 'http://10.0.0.2:2379'] };
  const texts = ['authentication failed, invalid user ID or password', 'permission denied', 'certificate', 'timeout'];
  for (const text of texts) {
    const { message } = errorOf(text, both);
    expect(message).toContain('http://10.0.0.1:2379,http://10.0.0.2:2379');
    expect(message).not.toContain('secret-word');
  }
});
