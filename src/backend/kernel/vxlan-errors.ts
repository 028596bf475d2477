import { errnoOf, messageOf, RudderError } from '../../core/errors.js';
import type { Netlink } from '../../system/netlink.js';

/** The device that was to be. */
interface Wanted {
  readonly name: string;
  readonly vni: number;
  readonly port: number;
}

/** What the kernel's refusal means. */
export function refused({ name, vni, port }: Wanted, error: unknown): RudderError {
  const what = `cannot set up VXLAN device ${name} with VNI ${vni} and port ${port}`;
  const reason = (() => {
    switch (errnoOf(error)) {
      case 'EOPNOTSUPP':
        return 'this kernel has no VXLAN, expected its module vxlan; run "modprobe vxlan", or use the backend udp';
      case 'EPERM':
        return 'no permission, expected the capability CAP_NET_ADMIN; run as root or through rudder.service';
      default:
        return `${messageOf(error)}; see docs/troubleshooting.md`;
    }
  })();
  return new RudderError('device', `${what}: ${reason}`, { cause: error });
}

export function portTaken({ name, port }: Wanted): RudderError {
  return new RudderError(
    'socket',
    `cannot bring up ${name}: UDP port ${port} is taken, expected no program and no VXLAN device of other settings there; "ss -lunp sport = :${port}" and "ip -d link show type vxlan" tell whose it is`,
  );
}

/** The name is free, or a link of another kind has it; else the kernel wants one device for a VNI and port. */
export async function taken({ name, vni, port }: Wanted, netlink: Netlink): Promise<RudderError> {
  for (const { name: other, kind } of await netlink.links()) {
    const vxlan = kind === 'vxlan' ? (await netlink.details(other))?.vxlan : undefined;
    if (vxlan?.id === vni && vxlan.port === port) {
      return new RudderError(
        'device',
        `VXLAN device ${other} has VNI ${vni} and port ${port} already, expected no other one on this host; remove it with "ip link delete ${other}", or set another Backend.VNI`,
      );
    }
  }
  return new RudderError(
    'device',
    `an interface named ${name} exists already; remove it with "ip link delete ${name}"`,
  );
}
