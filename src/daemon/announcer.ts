import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import type { SdNotify } from '../system/sd-notify.js';

/** What systemd shows of the node: it may change while the node runs. */
export interface Facts {
  readonly subnet: Subnet;
  readonly publicIp: Ipv4;
  readonly mtu: number;
}

/** Tells systemd that the node is ready, and from then on whether etcd's word on peers is current. */
export function createAnnouncer(notify: SdNotify, facts: () => Facts) {
  let isReady = false;

  function status(isCurrent: boolean): string {
    const { subnet, publicIp, mtu } = facts();
    const degraded = isCurrent ? '' : 'Degraded: etcd does not answer, peers are as last known. ';
    return `STATUS=${degraded}Subnet ${formatSubnet(subnet)}, public address ${formatIpv4(publicIp)}, MTU ${mtu}`;
  }

  return {
    ready(isCurrent: boolean): void {
      isReady = true;
      notify('READY=1', status(isCurrent));
    },
    current(isCurrent: boolean): void {
      if (isReady) notify(status(isCurrent));
    },
  };
}
