import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';

/** Two names of one number on Linux: libuv says ENOTSUP, and the kernel's sources, where its meaning is looked up, the other. */
const asKernelSays = (code: string) => (code === 'ENOTSUP' ? 'EOPNOTSUPP' : code);

export class NetlinkError extends Error {
  readonly syscall = 'netlink';
  readonly code: string;
  readonly errno: number | undefined;

  constructor(message: string, name: string) {
    super(message);
    const code = asKernelSays(name);
    this.code = code;
    const errno = (constants.errno as Record<string, number | undefined>)[code];
    this.errno = errno === undefined ? undefined : -errno;
  }

  /** @param errno negative, as the kernel answers */
  static fromErrno(what: string, errno: number): NetlinkError {
    const code = asKernelSays(getSystemErrorName(errno));
    return new NetlinkError(`netlink: ${what}: Request rejected: ${code}`, code);
  }

  /** Of what the package throws: "Request rejected: EEXIST" and the like; a timeout has no errno of its own. */
  static fromPackage(what: string, error: unknown): NetlinkError {
    const text = error instanceof Error ? error.message : String(error);
    const code = /\b(E[A-Z0-9]+)$/.exec(text)?.[1] ?? (/timeout/i.test(text) ? 'ETIMEDOUT' : 'EIO');
    return new NetlinkError(`netlink: ${what}: ${text}`, code);
  }
}
