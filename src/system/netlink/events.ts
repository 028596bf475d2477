import { Protocol, RawNetlinkSocket } from 'netlink';
import { contains, type Subnet } from '../../core/subnet.js';
import { linkOf, RTM_DELLINK, RTM_NEWLINK } from './links.js';
import { eachMessage, type Message } from './messages.js';
import { RTM_DELROUTE, RTM_NEWROUTE, routeOf } from './routes.js';

/** linux/rtnetlink.h: groups of notifications. */
const RTNLGRP_LINK = 1;
const RTNLGRP_IPV4_IFADDR = 5;
const RTNLGRP_IPV4_ROUTE = 7;
const RTNLGRP_IPV4_RULE = 8;

/** A routing daemon may change thousands of routes at once. */
const BUFFERS = { recvBufferSize: 1 << 20, sendBufferSize: 1 << 16 };

export interface HostEvents {
  /** Whether anything that matters has changed since the last time this was asked. */
  take(): boolean;
  close(): void;
}

/**
 * Listens from now on. On a busy host most notifications do not matter: links of containers, which are ports of a bridge,
 * and routes to elsewhere. What the kernel had no room to tell counts as a change. @throws what the kernel says
 */
export function watchHost(device: string, network: Subnet): HostEvents {
  const socket = new RawNetlinkSocket(Protocol.ROUTE, BUFFERS);
  socket.unref();
  let deviceIndex: number | undefined;
  let changed = false;

  function linkMatters(message: Message): boolean {
    const { index, name, isPort } = linkOf(message);
    if (name === device) deviceIndex = index;
    return name === device || !isPort;
  }

  function routeMatters(message: Message): boolean {
    const route = routeOf(message.body);
    if (route === undefined) return false;
    const { destination, index } = route;
    // Before the device was ever told of, any route could be through it.
    const isThroughDevice = deviceIndex === undefined || index === deviceIndex;
    return destination.prefixLength === 0 || isThroughDevice || contains(network, destination.address);
  }

  function matters(message: Message): boolean {
    switch (message.type) {
      case RTM_NEWLINK:
      case RTM_DELLINK:
        return linkMatters(message);
      case RTM_NEWROUTE:
      case RTM_DELROUTE:
        return routeMatters(message);
      default: // addresses and policy rules
        return true;
    }
  }

  socket.on('message', (bytes) => {
    eachMessage(bytes, (message) => {
      if (matters(message)) changed = true;
    });
  });
  // ENOBUFS: notifications were lost.
  socket.on('error', () => {
    changed = true;
  });
  for (const group of [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE]) {
    socket.addMembership(group);
  }
  return {
    take() {
      const was = changed;
      changed = false;
      return was;
    },
    close: () => socket.close(),
  };
}
