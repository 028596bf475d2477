import { messageOf, RudderError } from '../../core/errors.js';

/** What an error line about etcd may name. The password is not among it. */
export interface EtcdIdentity {
  readonly endpoints: readonly string[];
  readonly prefix: string;
  readonly auth?: { readonly username: string };
}

/** What probe.ts finds out where gRPC tells too little; in `etcd.detail`. */
export class Finding extends Error {
  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
  }
}

interface Row {
  /** Of a Finding; or by the words of etcd, gRPC, OpenSSL or the kernel: */
  readonly kind: string;
  readonly pattern?: RegExp;
  /** `registry-refused`: time does not heal it, the user must act. */
  readonly code: 'registry-refused' | 'registry-unavailable';
  /** @param at the endpoints that are so; @param detail a Finding's text, or what the pattern's first group has matched */
  readonly line: (at: string, detail: string, etcd: EtcdIdentity) => string;
}

/** A connection that failed without any word of etcd's. */
const away = (kind: string, pattern: RegExp, why: (detail: string) => string): Row => ({
  kind,
  pattern,
  code: 'registry-unavailable',
  line: (at, detail) => `etcd at ${at} cannot be reached: ${why(detail)}`,
});

const refused = (kind: string, pattern: RegExp | undefined, line: Row['line']): Row => ({
  kind,
  pattern,
  code: 'registry-refused',
  line,
});

/** etcd answers, and it passes as soon as somebody has put etcd right. */
const answered = (kind: string, pattern: RegExp, line: (at: string, detail: string) => string): Row => ({
  kind,
  pattern,
  code: 'registry-unavailable',
  line,
});

/**
 * What may go wrong with etcd, in our words: the most telling first. Of several endpoints the first row counts: what etcd
 * itself answers, then TLS, then names, then what merely is not there.
 */
const ROWS: readonly Row[] = [
  refused(
    'password',
    /authentication failed, invalid user ID or password/,
    (at, _, { auth }) =>
      `etcd at ${at} does not accept the password of user "${auth?.username}"; correct --etcd-username and --etcd-password`,
  ),
  refused(
    'no-users',
    /authentication is not enabled/,
    (at) => `etcd at ${at} has no users enabled; leave out --etcd-username and --etcd-password`,
  ),
  refused(
    'anonymous',
    /user name is empty/,
    (at) => `etcd at ${at} wants a user; give --etcd-username and --etcd-password`,
  ),
  refused(
    'permission',
    /permission denied/,
    (at, _, { auth, prefix }) =>
      `etcd at ${at} denies ${auth ? `user "${auth.username}"` : 'an anonymous user'} access to ${prefix}/; grant a role that reads and writes that prefix`,
  ),
  answered(
    'corrupt',
    /corrupt cluster|CORRUPT/,
    (at) =>
      `etcd at ${at} serves nobody, since it has found members with different data (alarm CORRUPT): replace the damaged member, then etcdctl alarm disarm`,
  ),
  answered(
    'no-space',
    /database space exceeded|NOSPACE/,
    (at) =>
      `etcd at ${at} takes no writes, since its space is used up (alarm NOSPACE): etcdctl compact, defrag, then alarm disarm`,
  ),
  answered(
    'busy',
    /too many requests/,
    (at) =>
      `etcd at ${at} is overloaded and has put our request off (too many requests): look at its disk and its clients`,
  ),
  answered(
    'no-leader',
    /etcdserver: (?:no leader|request timed out|leader changed|not leader)/,
    (at) =>
      `etcd at ${at} has no leader, as when fewer than half of its members reach each other: start the other members, or mend the network between them`,
  ),
  answered(
    'learner',
    /not supported for learner/,
    (at) =>
      `etcd at ${at} is a learner, which does not serve clients: etcdctl member promote, or name other members in --etcd-endpoints`,
  ),
  answered(
    'login',
    /the login is not valid any more|revision of auth store is old/,
    (at) => `etcd at ${at} has ended our login: it is renewed`,
  ),
  answered(
    'compacted',
    /(revision \d+ has been compacted)/,
    (at, what) => `etcd at ${at} has forgotten what we ask for: ${what}`,
  ),
  answered(
    'answer',
    /etcdserver: (.*)/s,
    (at, answer) => `etcd at ${at} cannot do what it is asked: "${answer}"; see its log`,
  ),

  refused(
    'own-certificate-expired',
    undefined,
    (at, detail) =>
      `etcd at ${at} does not take our certificate: ${detail}; put a new one into --etcd-certfile and --etcd-keyfile`,
  ),
  refused(
    'certificate-expired',
    /certificate has expired|CERT_HAS_EXPIRED/,
    (at, detail) =>
      `no trusted TLS connection to etcd at ${at}: ${detail || 'a certificate of etcd or its CA has expired'}; renew it`,
  ),
  refused(
    'certificate-not-yet',
    /certificate is not yet valid|CERT_NOT_YET_VALID/,
    (at, detail) =>
      `no trusted TLS connection to etcd at ${at}: ${detail || "etcd's certificate is not valid yet"}; set this host's clock, or wait`,
  ),
  refused(
    'client-certificate-missing',
    undefined,
    (at) => `etcd at ${at} wants a client certificate; give --etcd-certfile and --etcd-keyfile`,
  ),
  refused(
    'client-certificate',
    /alert (?:bad certificate|certificate required|unknown ca|certificate unknown|certificate expired|handshake failure)|alert number (?:40|42|44|45|46|48|116)\b/,
    (at, detail) =>
      `etcd at ${at} does not take our client certificate${detail}: give one as --etcd-certfile and --etcd-keyfile that its trusted CA has signed`,
  ),
  refused(
    'wrong-name',
    /does not match certificate's altnames|ERR_TLS_CERT_ALTNAME_INVALID/,
    (at, detail) =>
      `no trusted TLS connection to etcd at ${at}: its certificate is for ${detail || 'another name'}; name one of those in --etcd-endpoints, or add this one to the certificate`,
  ),
  refused(
    'no-trust',
    /certificate|self[- ]signed|SELF_SIGNED|UNABLE_TO|CERT_/i,
    (at, detail) =>
      `no trusted TLS connection to etcd at ${at}: its certificate${detail} is not signed by a CA we were given; give the CA that signed it as --etcd-cafile`,
  ),
  refused(
    'plain',
    // What OpenSSL says of an answer that is not TLS, and Node of etcd's, which is to hang up without one.
    /wrong version number|packet length too long|before secure TLS connection/,
    (at) => `etcd at ${at} does not speak TLS; use http:// in --etcd-endpoints or enable TLS on etcd`,
  ),
  refused(
    'tls-wanted',
    /HTTP request to an HTTPS server/,
    (at) => `etcd at ${at} speaks TLS; use https:// in --etcd-endpoints, and give --etcd-cafile`,
  ),
  refused(
    'web',
    /(?:Received )?(HTTP status (?:code )?\d+)/,
    (at, status) => `what answers at ${at} is a web server (${status}), not etcd: correct --etcd-endpoints`,
  ),
  refused(
    'stranger',
    /Protocol error|no application protocol|alert number 120\b/,
    (at) => `what answers at ${at} is not etcd, it does not speak HTTP/2: correct --etcd-endpoints`,
  ),
  {
    kind: 'name',
    pattern: /(?:ENOTFOUND|EAI_\w+|Name resolution failed)/,
    code: 'registry-unavailable',
    line: (at, detail) =>
      `the name of etcd at ${at} cannot be resolved${detail && ` (${detail})`}: correct --etcd-endpoints, or mend DNS or /etc/hosts`,
  },
  away(
    'hung-up',
    /ECONNRESET|EPIPE|EPROTO|Failed to connect|Socket closed|Connection (?:dropped|closed)|RST_STREAM|GOAWAY|ended the|[Ss]tream|CANCELLED/,
    () => 'the connection was closed from there',
  ),
  away('nobody', /(ECONNREFUSED)/, (errno) => `nothing listens there (${errno})`),
  away(
    'forbidden',
    /(EPERM|EACCES)/,
    (errno) => `this host forbids the connection (${errno}), as a firewall rule does`,
  ),
  away(
    'no-route',
    /(EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EINVAL)/,
    (errno) => `there is no way to that address (${errno})`,
  ),
  away('deadline', /DEADLINE_EXCEEDED|ETIMEDOUT|did not confirm the watch in time/, () => 'no answer in time'),
  away('silent', /(silent for \d+ ms)/, (silence) => `etcd was ${silence}`),
  away(
    'given-up',
    /the connection was given up/,
    () => 'the connection was given up, since this host has another address',
  ),
  // What nobody has foreseen; always the last.
  away('other', /(.*)/s, (text) => `the connection failed (${unwrapped(text) || 'without a reason'})`),
];

interface Told {
  readonly rank: number;
  readonly detail: string;
}

function sort(thrown: unknown): Told {
  if (thrown instanceof Finding)
    return { rank: ROWS.findIndex(({ kind }) => kind === thrown.kind), detail: thrown.message };
  const text = messageOf(thrown);
  const rank = ROWS.findIndex(({ pattern }) => pattern?.test(text));
  return { rank, detail: ROWS[rank].pattern?.exec(text)?.[1] ?? '' };
}

/** True for an answer of etcd itself to what it was asked, not of the network or TLS before it. */
export const isAnswer = (thrown: unknown): boolean =>
  sort(thrown).rank <= ROWS.findIndex(({ kind }) => kind === 'answer');

/** What probe.ts may tell more about: TLS and what is behind a port, not names and silence. */
export function isUnclear(thrown: unknown): boolean {
  const { kind } = ROWS[sort(thrown).rank];
  return (
    !isAnswer(thrown) && !['name', 'nobody', 'forbidden', 'no-route', 'deadline', 'silent', 'given-up'].includes(kind)
  );
}

/** Sorts what etcd3 throws into `registry-refused` (the user must act) and `registry-unavailable` (try again). */
export function toRudderError(thrown: unknown, etcd: EtcdIdentity): RudderError {
  return thrown instanceof RudderError ? thrown : lineOf(thrown, etcd.endpoints, etcd);
}

/** Of what each of several endpoints has said, the most telling, and of whom it is so. */
export function mostTelling(
  failures: readonly { endpoint: string; thrown: unknown }[],
  etcd: EtcdIdentity,
): RudderError {
  const least = Math.min(...failures.map(({ thrown }) => sort(thrown).rank));
  const those = failures.filter(({ thrown }) => sort(thrown).rank === least);
  return lineOf(those[0].thrown, [...new Set(those.map(({ endpoint }) => endpoint))], etcd);
}

function lineOf(thrown: unknown, endpoints: readonly string[], etcd: EtcdIdentity): RudderError {
  const { rank, detail } = sort(thrown);
  const { code, line } = ROWS[rank];
  return new RudderError(code, messageOf(line(endpoints.join(','), messageOf(detail), etcd)), { cause: thrown });
}

/** The words that nobody has foreseen, out of gRPC's wrapping. */
function unwrapped(text: string): string {
  return text
    .replace(/\. Resolution note: .*$/s, '')
    .replace(/^\w+Error: /, '')
    .replace(/^\d+ [A-Z_]+: /, '')
    .replace(/^No connection established(?:\. Last error: )?/, '')
    .replace(/^(?:Error: )?(?:undefined|null)?$/, '')
    .replace(/^Error: /, '');
}
