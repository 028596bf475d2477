import { readSync } from 'node:fs';
import { errnoOf } from '../../core/errors.js';
import { contains, type Subnet } from '../../core/subnet.js';
import { native } from '../native.js';
import { AF_INET6, linkOf, RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK } from './links.js';
import { eachMessage, type Message } from './messages.js';
import { neighbourIndexOf, type OwnDeletions, RTM_DELNEIGH, RTM_NEWNEIGH } from './neighbours.js';
import { RTM_DELROUTE, RTM_NEWROUTE, routeOf } from './routes.js';

/** linux/rtnetlink.h: groups of notifications. */
const RTNLGRP_LINK = 1;
const RTNLGRP_NEIGH = 3;
const RTNLGRP_IPV4_IFADDR = 5;
const RTNLGRP_IPV4_ROUTE = 7;
const RTNLGRP_IPV4_RULE = 8;
const RTNLGRP_IPV6_IFADDR = 9;
const GROUPS = [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_IFADDR];
const bitsOf = (groups: readonly number[]) => groups.reduce((bits, group) => bits | (1 << (group - 1)), 0);

/** For some thousand notifications: a routing daemon may change as many routes at once. */
const BUFFER_BYTES = 4 << 20;
/** A notification is at most a page or two. */
const READ_BYTES = 1 << 16;
/** Reads at one time at most: more than the buffer holds would be a flood that never ends. */
const MAX_READS = 16_384;

export interface WatchOptions {
  /** Whether entries count that go from the device's neighbours or its FDB: a device of user space has none. */
  readonly neighbours?: boolean;
}

/** What this process changes itself by its requests: entries and routes, which nobody has to look at again. */
export interface OwnChanges {
  readonly port: number;
  readonly deletions: OwnDeletions;
}

export interface HostEvents {
  /** Whether anything that matters has changed since the last time this was asked. */
  take(): boolean;
  setDeviceIndex(index: number | undefined): void;
  close(): void;
}

/**
 * Listens from now on. On a busy host most notifications do not matter: links of containers, which are ports of a bridge,
 * and routes to elsewhere. What the kernel had no room to tell counts as a change. @throws what the kernel says
 */
export function watchHost(
  device: string,
  network: Subnet,
  own: OwnChanges,
  { neighbours = false }: WatchOptions = {},
): HostEvents {
  const groups = neighbours ? [...GROUPS, RTNLGRP_NEIGH] : GROUPS;
  const socket = native.openNetlink(bitsOf(groups), BUFFER_BYTES);
  const buffer = Buffer.alloc(READ_BYTES);
  let deviceIndex: number | undefined;
  own.deletions.begin();

  function linkMatters(message: Message): boolean {
    const { index, name, isPort } = linkOf(message);
    if (name === device) deviceIndex = index;
    return name === device || !isPort;
  }

  function routeMatters(message: Message): boolean {
    const route = routeOf(message.body);
    if (route === undefined) return false;
    const { destination, index } = route;
    const isThroughDevice = index !== undefined && index === deviceIndex;
    return destination.prefixLength === 0 || isThroughDevice || contains(network, destination.address);
  }

  function matters(message: Message): boolean {
    switch (message.type) {
      case RTM_NEWLINK:
      case RTM_DELLINK:
        return linkMatters(message);
      case RTM_NEWROUTE:
      case RTM_DELROUTE:
        return message.port !== own.port && routeMatters(message);
      case RTM_NEWADDR:
      case RTM_DELADDR:
        // Of IPv6 only our device's: it shall have none.
        return message.body[0] !== AF_INET6 || message.body.readInt32LE(4) === deviceIndex;
      case RTM_NEWNEIGH:
        return false;
      case RTM_DELNEIGH:
        return !own.deletions.take(message.body) && neighbourIndexOf(message.body) === deviceIndex;
      default: // policy rules
        return true;
    }
  }

  /** @returns whether there was anything; undefined: nothing is left */
  function readOne(): boolean | undefined {
    try {
      const length = readSync(socket, buffer);
      let result = false;
      eachMessage(buffer.subarray(0, length), (message) => {
        if (matters(message)) result = true;
      });
      return result;
    } catch (error) {
      if (errnoOf(error) === 'EAGAIN') return undefined;
      // ENOBUFS: some were lost.
      own.deletions.begin();
      return true;
    }
  }

  return {
    take() {
      let changed = false;
      for (let i = 0; i < MAX_READS; i++) {
        const result = readOne();
        if (result === undefined) {
          own.deletions.heardAll();
          break;
        }
        changed ||= result;
      }
      return changed;
    },
    setDeviceIndex(index) {
      deviceIndex = index;
    },
    close: () => native.close(socket),
  };
}
