import type { BackendLease } from '../../src/core/lease.js';

/** What a node with the udp backend says of it in its lease. */
export const udp = (portMapped = false): BackendLease => ({
  type: 'udp',
  data: portMapped ? { PortMapped: true } : {},
});
