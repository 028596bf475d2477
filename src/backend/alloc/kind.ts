import type { Backend } from '../backend.js';
import type { BackendHost, BackendKind } from '../kind.js';

/** A subnet for each node and no more: somebody else moves the packets, such as the routers of a cloud. */
export const alloc: BackendKind = {
  type: 'alloc',
  keys: [],
  answers: 'bridge',
  configure: () => ({
    type: 'alloc',
    fields: {},
    tunnel: undefined,
    mtu: undefined,
    overheadBytes: 0,
    problemOf: () => undefined,
    open: async (host) => allocOn(host),
  }),
};

function allocOn(host: BackendHost): Backend {
  let { interface: underlay, mtu } = host;
  return {
    device: undefined,
    leaves: [],
    ways: () => [underlay],
    bareWay: () => underlay,
    leaseData: () => ({}),
    mtu: () => mtu,
    start: async () => undefined,
    apply: async () => undefined,
    problemOf: () => undefined,
    repair: async () => undefined,
    async adapt(change) {
      underlay = change.interface;
      mtu = change.mtu;
    },
    setRouted: async () => undefined,
    packetPath: undefined,
    kernelEntries: () => undefined,
    directPeers: () => undefined,
    persist: () => undefined,
    stop: async () => undefined,
    failure: new Promise<never>(() => undefined),
  };
}
