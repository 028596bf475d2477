import type { EtcdAuth, TlsFiles } from './credentials.js';

/** Which etcd, and how it is spoken to. */
export interface EtcdOptions {
  /** `http://host:port` or `https://host:port`, all of one kind. */
  readonly endpoints: readonly string[];
  /** Without a trailing slash, such as `/coreos.com/network`. */
  readonly prefix: string;
  readonly tls?: TlsFiles | undefined;
  readonly auth?: EtcdAuth | undefined;
  /** Deadline of one request, in milliseconds. */
  readonly deadlineMs?: number;
  /** The flags by which a command finds the same etcd, for remedies; without secrets. */
  readonly flags?: readonly string[] | undefined;
}
