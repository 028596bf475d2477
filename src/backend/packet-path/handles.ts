import type { Ipv4 } from '../../core/ipv4.js';
import { native } from '../../system/native.js';
import { createQueueDrops, type QueueDrops } from '../../system/queue-drops.js';
import { DEVICE_NAME, openTunDevice } from '../../system/tun-device.js';
import { openUdpSocket } from '../../system/udp-socket.js';

/** The device and the socket that there are: each is replaced by another one when the host changes. */
export interface Handles {
  readonly tun: number;
  readonly udp: number;
  /** From now on the device outlives the process, and so does one that takes its place. */
  persist(): void;
  /** Closes the one before: nobody may use it any more. */
  replaceTun(next: number): void;
  replaceUdp(next: number): void;
  /** Since openHandles(), of all devices and sockets that there were. */
  queueDrops(): QueueDrops;
  close(): void;
}

/** @throws RudderError `device` or `socket`, and leaves neither open */
export function openHandles(localAddress: Ipv4, port: number): Handles {
  const readQueueDrops = createQueueDrops(DEVICE_NAME);
  let udp = openUdpSocket(localAddress, port);
  let tun: number;
  let isPersistent = false;
  try {
    tun = openTunDevice(DEVICE_NAME);
  } catch (error) {
    native.close(udp);
    throw error;
  }
  const queueDrops = () => readQueueDrops(udp);
  queueDrops();

  return {
    get tun() {
      return tun;
    },
    get udp() {
      return udp;
    },
    persist() {
      native.setTunPersistent(tun, 1);
      isPersistent = true;
    },
    replaceTun(next) {
      // The device is gone already, and its count with it.
      native.close(tun);
      tun = next;
      queueDrops();
      if (isPersistent) native.setTunPersistent(tun, 1);
    },
    replaceUdp(next) {
      queueDrops();
      native.close(udp);
      udp = next;
      queueDrops();
    },
    queueDrops,
    close() {
      for (const fd of [tun, udp]) native.close(fd);
    },
  };
}
