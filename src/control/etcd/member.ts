import { noop } from 'cockatiel';
import type { CredentialKeeper, Credentials } from './credentials.js';
import { isUnclear } from './errors.js';
import { castGrpcError, Etcd3, InterceptingCall, type Interceptor } from './library.js';
import type { EtcdOptions } from './options.js';
import { checkName, hostPortOf, probe } from './probe.js';

/** A half-open connection is noticed in 15 s. Not below 5 s, which etcd punishes (`--grpc-keepalive-min-time`). */
const KEEPALIVE_TIME_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5000;
/** gRPC refuses answers above 4 MB, less than a few strangers' 1 MB values under our prefix. */
const MAX_ANSWER_BYTES = 1024 * 1024 * 1024;
/** What a probe has found out is told for this long before another one. */
const DIAGNOSIS_MS = 5000;

/** etcd3's client of one member. */
export type Client = Etcd3;

/** One member of the etcd cluster, and the connection to it with the credentials of the moment. */
export interface Member {
  readonly endpoint: string;
  /** Sends a request; once more with a new login, or with what is in the credentials' files by now. */
  ask<T>(request: (client: Client) => Promise<T>): Promise<T>;
  /** For a stream; who finds out that it does not work says so with `failed`. */
  client(): Promise<Client>;
  /** A stream has failed: the next connection is a new one. */
  failed(): void;
  /** More of why it failed, if it can be found out. */
  diagnose(thrown: unknown): Promise<unknown>;
  close(): void;
}

/** A connection that is made with these, and is logged in or will be. */
interface Connection {
  readonly client: Client;
  readonly tls: Credentials['tls'];
  readonly session: Session;
}

/** etcd's login: a token for the name and the password. */
interface Session {
  token: string | undefined;
  /** That it was asked for with. */
  password: string | undefined;
  loggingIn: Promise<void> | undefined;
}

export function createMember(
  endpoint: string,
  options: EtcdOptions,
  credentials: CredentialKeeper,
  deadlineMs: number,
): Member {
  const { host } = hostPortOf(endpoint);
  let connection: Connection | undefined;
  /** It has answered, so its name is known: DNS that fails now is nothing to us. */
  let isKnown = false;
  let diagnosis: { at: number; found: Promise<unknown> } | undefined;

  let isClosed = false;

  function connected(): Connection {
    if (isClosed) throw new Error('the connection was given up');
    connection ??= connect(endpoint, credentials.current(), deadlineMs);
    return connection;
  }

  async function loggedIn({ client, session }: Connection): Promise<void> {
    if (options.auth === undefined || session.token !== undefined) return;
    const { username } = options.auth;
    const { password } = credentials.current();
    session.password = password;
    session.loggingIn ??= client.auth
      .authenticate({ name: username, password })
      .then(({ token }) => {
        session.token = token;
      })
      .finally(() => {
        session.loggingIn = undefined;
      });
    await session.loggingIn;
  }

  async function ready(used: Connection): Promise<Client> {
    if (!isKnown) await checkName(host);
    await loggedIn(used);
    return used.client;
  }

  /** True if what is in the files now is not what this connection was made with. */
  function hasChanged(used: Connection): boolean {
    if (isClosed) return false;
    if (connection !== used) return true; // somebody else's request has found that out
    credentials.refresh();
    const { tls, password } = credentials.current();
    if (tls !== used.tls) drop();
    else if (password === used.session.password || options.auth === undefined) return false;
    used.session.token = undefined;
    return true;
  }

  function drop(): void {
    connection?.client.close();
    connection = undefined;
  }

  return {
    endpoint,
    async ask(request) {
      credentials.tend();
      for (let canLogIn = true, canReconnect = true; ; ) {
        const used = connected();
        try {
          const answer = await request(await ready(used));
          isKnown = true;
          return answer;
        } catch (thrown) {
          isKnown = false;
          const error = castGrpcError(thrown as Error);
          if (canLogIn && isLoginOver(error)) {
            canLogIn = false;
            used.session.token = undefined;
          } else if (canReconnect && hasChanged(used)) canReconnect = false;
          else throw error;
        }
      }
    },
    client: async () => ready(connected()),
    failed() {
      isKnown = false;
      if (connection !== undefined) hasChanged(connection);
    },
    async diagnose(thrown) {
      if (!isUnclear(thrown)) return thrown;
      if (diagnosis === undefined || performance.now() - diagnosis.at > DIAGNOSIS_MS) {
        diagnosis = { at: performance.now(), found: probe(endpoint, connection?.tls).catch(() => undefined) };
      }
      return (await diagnosis.found) ?? thrown;
    },
    close() {
      isClosed = true;
      drop();
    },
  };
}

const isLoginOver = (error: Error) =>
  /the login is not valid any more|revision of auth store is old/.test(error.message);

function connect(endpoint: string, { tls }: Credentials, deadlineMs: number): Connection {
  const session: Session = { token: undefined, password: undefined, loggingIn: undefined };
  const client = new Etcd3({
    hosts: endpoint,
    credentials: tls?.ca && { rootCertificate: tls.ca, privateKey: tls.key, certChain: tls.cert },
    grpcOptions: {
      'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
      // Only while a call is under way, as on the watch's channel there always is: etcd counts pings on a channel
      // without streams as an attack and closes it ("excess pings"), whatever their interval.
      'grpc.keepalive_permit_without_calls': 0,
      'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
      // Channels to one address would otherwise share a connection and its backoff with every other client of the process.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_reconnect_backoff_ms': 2000,
      // http_proxy in the environment is for whatever else runs on this host.
      'grpc.enable_http_proxy': 0,
      interceptors: [sayWhoAsks(session)],
    },
    defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + deadlineMs }),
    // Whether and when to try again is for `ask` and for the callers' backoff.
    faultHandling: { global: noop, host: () => noop },
  });
  return { client, tls, session };
}

/**
 * etcd3's own login knows neither our channel options nor a password that changes. And a member that has lost the others
 * says so ("no leader"), instead of being silent (etcd: RequireLeader).
 */
const sayWhoAsks =
  (session: Session): Interceptor =>
  (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start(metadata, _listener, next) {
        // Each call has its own copy.
        metadata.set('hasleader', 'true');
        if (session.token !== undefined) metadata.set('token', session.token);
        next(metadata, {
          onReceiveStatus(status, tell) {
            // etcd3 would log in itself, and ask for ever.
            const details = status.details.replace('invalid auth token', 'the login is not valid any more');
            tell({ ...status, details });
          },
        });
      },
    });
