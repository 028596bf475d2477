import { describe, expect, it } from 'vitest';
import { type EtcdIdentity, Finding, mostTelling, toRudderError } from '../../../../src/control/etcd/errors.js';
import { RudderError } from '../../../../src/core/errors.js';

const URL = 'https://10.0.0.1:2379';
const anonymous: EtcdIdentity = { endpoints: [URL], prefix: '/coreos.com/network' };
const auth = { username: 'rudder', password: 'secret-word' };
const user: EtcdIdentity = { ...anonymous, auth };

const errorOf = (text: string, etcd = anonymous) => toRudderError(new Error(text), etcd);

describe('what the user must mend is registry-refused, in one line with the remedy', () => {
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
    expect(error.code).toBe('registry-refused');
    expect(error.message).toBe(line);
  });

  it.each([
    [
      'no trust',
      'unable to verify the first certificate',
      /its certificate is not signed by a CA we were given; .*--etcd-cafile$/,
    ],
    ['no trust', 'self-signed certificate in certificate chain', /not signed by a CA we were given/],
    ['expired', 'certificate has expired', /a certificate of etcd or its CA has expired; renew it$/],
    [
      'another name',
      "Hostname/IP does not match certificate's altnames: IP: x is not in the cert's list: ",
      /for another name/,
    ],
    [
      'no client certificate',
      'error:0A000412:SSL routines:ssl3_read_bytes:sslv3 alert bad certificate:a.c:1601:SSL alert number 42\n',
      /does not take our client certificate: give one as --etcd-certfile/,
    ],
    [
      'a web server',
      'Received HTTP status code 404',
      /^what answers at \S+ is a web server \(HTTP status code 404\), not etcd: correct --etcd-endpoints$/,
    ],
    ['another protocol', 'Protocol error (2026-11-27T00:26:19.058Z)', /is not etcd, it does not speak HTTP\/2/],
  ])('%s: %j', (_, reason, pattern) => {
    const error = errorOf(`14 UNAVAILABLE: No connection established. Last error: ${reason}. Resolution note: `);
    expect(error.code).toBe('registry-refused');
    expect(error.message).toMatch(pattern);
    expect(error.message).not.toMatch(/SSL|Last error|Resolution note|undefined/);
  });
});

describe('what passes by itself is registry-unavailable, in our words', () => {
  it.each([
    [
      '14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED 10.0.0.1:2379. Resolution note: ',
      'cannot be reached: nothing listens there (ECONNREFUSED)',
    ],
    [
      '14 UNAVAILABLE: No connection established. Last error: Error: connect EHOSTUNREACH 10.0.0.1:2379. Resolution note: ',
      'cannot be reached: there is no way to that address (EHOSTUNREACH)',
    ],
    [
      '14 UNAVAILABLE: No connection established. Last error: Failed to connect (2026-11-27T00:26:18.934Z). Resolution note: ',
      'cannot be reached: the connection was closed from there',
    ],
    ['4 DEADLINE_EXCEEDED: Deadline exceeded after 3.000s,Waiting for LB pick', 'cannot be reached: no answer in time'],
    ['etcd was silent for 4000 ms', 'cannot be reached: etcd was silent for 4000 ms'],
    ['etcd ended the watch stream', 'cannot be reached: the connection was closed from there'],
    [
      '14 UNAVAILABLE: etcdserver: no leader',
      'has no leader, as when fewer than half of its members reach each other: start the other members, or mend the network between them',
    ],
    ['14 UNAVAILABLE: etcdserver: request timed out', 'has no leader, as when'],
    [
      '8 RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded',
      'takes no writes, since its space is used up (alarm NOSPACE): etcdctl compact, defrag, then alarm disarm',
    ],
    ['8 RESOURCE_EXHAUSTED: etcdserver: too many requests', 'is overloaded and has put our request off'],
    [
      '15 DATA_LOSS: etcdserver: corrupt cluster',
      'serves nobody, since it has found members with different data (alarm CORRUPT)',
    ],
    [
      '14 UNAVAILABLE: etcdserver: rpc not supported for learner',
      'is a learner, which does not serve clients: etcdctl member promote',
    ],
    [
      '11 OUT_OF_RANGE: etcdserver: mvcc: required revision has been compacted',
      'cannot do what it is asked: "mvcc: required revision has been compacted"; see its log',
    ],
    ['revision 5 has been compacted', 'has forgotten what we ask for: revision 5 has been compacted'],
    ['two\n  lines', 'cannot be reached: the connection failed (two lines)'],
    ['', 'cannot be reached: the connection failed (without a reason)'],
    [
      '14 UNAVAILABLE: No connection established. Last error: undefined. Resolution note: undefined',
      'cannot be reached: the connection failed',
    ],
  ])('%j', (text, words) => {
    const error = errorOf(text, user);
    expect(error.code).toBe('registry-unavailable');
    expect(error.message).toContain(`etcd at ${URL} ${words}`);
    expect(error.message).not.toMatch(/Last error|undefined|\n/);
  });

  it('a name that does not resolve', () => {
    const line =
      /^the name of etcd at \S+ cannot be resolved( \(ENOTFOUND\))?: correct --etcd-endpoints, or mend DNS or \/etc\/hosts$/;
    expect(errorOf('14 UNAVAILABLE: Name resolution failed for target dns:a.invalid:2379').message).toMatch(line);
    expect(toRudderError(new Finding('name', 'ENOTFOUND'), anonymous).message).toMatch(line);
  });

  it('whatever was thrown', () => {
    expect(toRudderError('just text', anonymous).message).toContain('the connection failed (just text)');
    expect(toRudderError(undefined, anonymous).message).toContain('the connection failed (without a reason)');
  });
});

describe('of several endpoints the most telling error is told', () => {
  // From what says most to what says least.
  const inOrder = [
    '7 PERMISSION_DENIED: etcdserver: permission denied',
    '8 RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded',
    '14 UNAVAILABLE: etcdserver: no leader',
    'unable to verify the first certificate',
    'Name resolution failed for target dns:a',
    'connect ECONNREFUSED 10.0.0.1:2379',
    '4 DEADLINE_EXCEEDED: Deadline exceeded',
    'nobody has foreseen this',
  ].map((text) => new Error(text));

  it('whichever is the last', () => {
    for (const [i, better] of inOrder.entries()) {
      for (const worse of inOrder.slice(i + 1)) {
        const [a, b] = [
          { endpoint: 'http://a', thrown: better },
          { endpoint: 'http://b', thrown: worse },
        ];
        for (const failures of [
          [a, b],
          [b, a],
        ]) {
          const { cause, message } = mostTelling(failures, user);
          expect(cause).toBe(better);
          expect(message).toContain('http://a');
          expect(message).not.toContain('http://b');
        }
      }
    }
  });

  it('and all of whom it is so', () => {
    const failures = ['http://a', 'http://b'].map((endpoint) => ({ endpoint, thrown: new Error('x ECONNREFUSED') }));
    expect(mostTelling(failures, user).message).toMatch(/^etcd at http:\/\/a,http:\/\/b cannot be reached/);
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
