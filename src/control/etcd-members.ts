import { noop } from 'cockatiel';
import { castGrpcError, Etcd3, isRecoverableError } from 'etcd3';
import type { EtcdOptions } from './etcd-registry.js';

/** A half-open connection is noticed in 15 s. Not below 5 s, which etcd punishes (`--grpc-keepalive-min-time`). */
const KEEPALIVE_TIME_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5000;
/** gRPC refuses answers above 4 MB, less than a few strangers' 1 MB values under our prefix. */
const MAX_ANSWER_BYTES = 1024 * 1024 * 1024;

/** A connection to one member of the etcd cluster. */
export type Member = Etcd3;

/**
 * The members of the etcd cluster, of which one is in use until it fails, and then the next.
 *
 * etcd3 given several hosts takes another one at random for each call and each stream, also one that has just failed:
 * a frozen member would cost a third of all requests their deadline, for as long as it is frozen.
 */
export interface EtcdMembers {
  /** For a stream; who finds out that it does not work says so with `leave`. */
  inUse(): Member;
  /** Sends a request to the member in use, and if that cannot be reached, to each of the others once. */
  ask<T>(request: (member: Member) => Promise<T>): Promise<T>;
  /** This one cannot be reached: the next is in use, unless another one is already. */
  leave(member: Member): void;
  close(): void;
}

export function connectMembers(options: EtcdOptions, deadlineMs: number): EtcdMembers {
  const members = options.endpoints.map((endpoint) => connect(endpoint, options, deadlineMs));
  // The nodes of a cluster share its members.
  let used = Math.floor(Math.random() * members.length);

  function leave(member: Member): void {
    if (member === members[used]) used = (used + 1) % members.length;
  }

  return {
    inUse: () => members[used],
    async ask(request) {
      for (let others = members.length - 1; ; others--) {
        const member = members[used];
        try {
          return await request(member);
        } catch (thrown) {
          const error = castGrpcError(thrown as Error);
          if (!isRecoverableError(error)) throw error;
          leave(member);
          if (others === 0) throw error;
        }
      }
    },
    leave,
    close() {
      for (const member of members) member.close();
    },
  };
}

function connect(endpoint: string, options: EtcdOptions, deadlineMs: number): Member {
  const ca = options.tls?.ca;
  return new Etcd3({
    hosts: endpoint,
    credentials: ca && {
      rootCertificate: ca,
      privateKey: options.tls?.key,
      certChain: options.tls?.cert,
    },
    auth: options.auth && { ...options.auth },
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
    },
    defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + deadlineMs }),
    // Whether and when to try again is for `ask` and for the callers' backoff.
    faultHandling: { global: noop, host: () => noop },
  });
}
