import { messageOf, RudderError } from '../core/errors.js';

/** What an error line about etcd may name. The password is not among it. */
export interface EtcdIdentity {
  readonly endpoints: readonly string[];
  readonly prefix: string;
  readonly auth?: { readonly username: string };
}

/** Failures that time does not heal: the words of etcd or of the TLS library, and what the user must do. */
const REFUSALS: { pattern: RegExp; line: (reason: string, etcd: EtcdIdentity) => string }[] = [
  {
    pattern: /authentication failed, invalid user ID or password/,
    line: (_, etcd) =>
      `etcd at ${etcd.endpoints} does not accept the password of user "${etcd.auth?.username}"; correct --etcd-username and --etcd-password`,
  },
  {
    pattern: /authentication is not enabled/,
    line: (_, etcd) => `etcd at ${etcd.endpoints} has no users enabled; leave out --etcd-username and --etcd-password`,
  },
  {
    pattern: /user name is empty/,
    line: (_, etcd) => `etcd at ${etcd.endpoints} wants a user; give --etcd-username and --etcd-password`,
  },
  {
    pattern: /permission denied/,
    line: (_, etcd) =>
      `etcd at ${etcd.endpoints} denies ${etcd.auth ? `user "${etcd.auth.username}"` : 'an anonymous user'} access to ${etcd.prefix}/; grant a role that reads and writes that prefix`,
  },
  {
    // What OpenSSL says of an answer that is not TLS, and Node of etcd's, which is to hang up without one.
    pattern: /wrong version number|packet length too long|EPROTO|before secure TLS connection/,
    line: (_, etcd) =>
      `etcd at ${etcd.endpoints} does not speak TLS; use http:// in --etcd-endpoints or enable TLS on etcd`,
  },
  {
    pattern: /certificate|self[- ]signed|altname/i,
    line: (reason, etcd) =>
      `no trusted TLS connection to etcd at ${etcd.endpoints}: ${reason}; give the CA that signed etcd's certificate as --etcd-cafile, and a client certificate if etcd asks for one`,
  },
];

/** Sorts what etcd3 throws into `etcd-refused` (the user must act) and `etcd-unavailable` (try again). */
export function toRudderError(thrown: unknown, etcd: EtcdIdentity): RudderError {
  if (thrown instanceof RudderError) return thrown;
  const text = messageOf(thrown);
  const reason = reasonIn(text);
  const refusal = REFUSALS.find(({ pattern }) => pattern.test(text));
  if (refusal !== undefined) return new RudderError('etcd-refused', refusal.line(reason, etcd), { cause: thrown });
  return new RudderError('etcd-unavailable', `etcd at ${etcd.endpoints} cannot be reached: ${reason}`, {
    cause: thrown,
  });
}

/** The kernel's or TLS library's own words out of gRPC's wrapping. */
function reasonIn(text: string): string {
  return text
    .replace(/^\w+Error: /, '')
    .replace(/^\d+ [A-Z_]+: /, '')
    .replace(/^No connection established\. Last error: /, '')
    .replace(/^Error: /, '')
    .replace(/\. Resolution note: $/, '');
}
