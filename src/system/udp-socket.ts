import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { native } from './native.js';

/** Room for the bursts that super-packets arrive in; the kernel's default of 208 KB holds three of them. */
const BUFFER_BYTES = 4 * 1024 * 1024;

/** Opens the socket for encapsulated packets, bound to the underlay address. @throws RudderError `socket` */
export function openUdpSocket(address: Ipv4, port: number): number {
  try {
    return native.openUdp(address, port, BUFFER_BYTES);
  } catch (error) {
    throw new RudderError('socket', `cannot bind UDP ${formatIpv4(address)}:${port}: ${explain(error)}`, {
      cause: error,
    });
  }
}

function explain(error: unknown): string {
  switch (errnoOf(error)) {
    case 'EADDRINUSE':
      return 'the port is in use, expected it free; find its owner with "ss -lunp", or set Backend.Port for the whole cluster';
    case 'EADDRNOTAVAIL':
      return 'the address is not on this host, expected one of its own; check --iface';
    case 'EACCES':
    case 'EPERM':
      return 'no permission, expected CAP_NET_BIND_SERVICE for a port below 1024; choose a higher Backend.Port';
    default:
      return `${messageOf(error)}; see docs/troubleshooting.md`;
  }
}
