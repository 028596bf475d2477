import { Protocol, RawNetlinkSocket } from 'netlink';
import { linkOf, RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK } from './links.js';
import { eachMessage, type Message } from './messages.js';
import { type RouteInfo, RTM_DELROUTE, RTM_NEWROUTE, routeOf } from './routes.js';

/** linux/rtnetlink.h: groups of notifications. */
const RTNLGRP_LINK = 1;
const RTNLGRP_IPV4_IFADDR = 5;
const RTNLGRP_IPV4_ROUTE = 7;
const RTNLGRP_IPV4_RULE = 8;

/** A routing daemon may change thousands of routes at once. */
const BUFFERS = { recvBufferSize: 1 << 20, sendBufferSize: 1 << 16 };

/** Which of the kernel's notifications matter: on a busy host thousands do not. Addresses and policy rules always do. */
export interface Interest {
  link(index: number, name: string): boolean;
  route(route: RouteInfo): boolean;
}

export interface HostEvents {
  /** Whether anything that matters has changed since the last time this was asked. */
  take(): boolean;
  close(): void;
}

/** Listens from now on. What the kernel had no room to tell counts as a change. @throws what the kernel says */
export function watchHost(interest: Interest): HostEvents {
  const socket = new RawNetlinkSocket(Protocol.ROUTE, BUFFERS);
  socket.unref();
  let changed = false;

  function matters(message: Message): boolean {
    switch (message.type) {
      case RTM_NEWLINK:
      case RTM_DELLINK: {
        const { index, name } = linkOf(message);
        return interest.link(index, name);
      }
      case RTM_NEWROUTE:
      case RTM_DELROUTE: {
        const route = routeOf(message.body);
        return route !== undefined && interest.route(route);
      }
      case RTM_NEWADDR:
      case RTM_DELADDR:
        return true;
      default: // rules
        return true;
    }
  }

  socket.on('message', (bytes) => {
    if (!changed) {
      eachMessage(bytes, (message) => {
        changed ||= matters(message);
      });
    }
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
