import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';

export class NetlinkError extends Error {
  readonly syscall = 'netlink';
  readonly errno: number | undefined;

  constructor(
    message: string,
    readonly code: string,
  ) {
    super(message);
    const errno = (constants.errno as Record<string, number | undefined>)[code];
    this.errno = errno === undefined ? undefined : -errno;
  }

  /** @param errno negative, as the kernel answers */
  static fromErrno(what: string, errno: number): NetlinkError {
    const code = getSystemErrorName(errno);
    return new NetlinkError(`netlink: ${what}: Request rejected: ${code}`, code);
  }

  /** Of what the package throws: "Request rejected: EEXIST" and the like; a timeout has no errno of its own. */
  static fromPackage(what: string, error: unknown): NetlinkError {
    const text = error instanceof Error ? error.message : String(error);
    const code = /\b(E[A-Z0-9]+)$/.exec(text)?.[1] ?? (/timeout/i.test(text) ? 'ETIMEDOUT' : 'EIO');
    return new NetlinkError(`netlink: ${what}: ${text}`, code);
  }
}
