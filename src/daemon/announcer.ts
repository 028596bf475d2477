import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { formatSubnet, type Subnet } from '../core/subnet.js';
import type { SdNotify } from '../system/sd-notify.js';

/** What systemd shows of the node: it may change while the node runs. */
export interface Facts {
  readonly subnet: Subnet;
  readonly publicIp: Ipv4;
  readonly mtu: number;
  /** Whether what we know of peers is the registry's word. */
  readonly isCurrent: boolean;
}

export interface Announcer {
  ready(): void;
  /** Something of the facts. Before the node is ready nobody is told. */
  changed(): void;
}

/** Tells systemd that the node is ready, and from then on what has changed. @param registry its kind */
export function createAnnouncer(notify: SdNotify, registry: string, facts: () => Facts): Announcer {
  let isReady = false;

  function status(): string {
    const { subnet, publicIp, mtu, isCurrent } = facts();
    const degraded = isCurrent ? '' : `Degraded: ${registry} does not answer, peers are as last known. `;
    return `STATUS=${degraded}Subnet ${formatSubnet(subnet)}, public address ${formatIpv4(publicIp)}, MTU ${mtu}`;
  }

  return {
    ready(): void {
      isReady = true;
      notify('READY=1', status());
    },
    changed(): void {
      if (isReady) notify(status());
    },
  };
}
