import type { Administration, StoredLease } from '../administration.js';
import { createEtcdRegistry } from './etcd-registry.js';
import { releaseLease } from './lease-release.js';
import type { EtcdOptions } from './options.js';
import { type LeaseEntry, NO_TTL } from './registry.js';
import { releaseReservation, reserveSubnet } from './reservations.js';

export function administerEtcd(options: EtcdOptions): Administration {
  const registry = createEtcdRegistry(options);
  const { prefix, flags } = options;

  async function withTimeLeft({ name, value, ttlId }: LeaseEntry): Promise<StoredLease> {
    // One that has run out since the list is no reservation.
    const left = async () => (await registry.timeToLive(ttlId))?.remainingSeconds ?? 0;
    return { name, value, ttlSeconds: ttlId === NO_TTL ? null : await left() };
  }

  return {
    configPlace: { key: `${prefix}/config`, flags },
    endpoints: () => options.endpoints,
    getConfig: registry.getConfig,
    readConfig: registry.readConfig,
    createConfig: registry.createConfig,
    replaceConfig: registry.replaceConfig,
    configHistory: registry.configHistory,
    async listClaims() {
      const { entries } = await registry.listLeases();
      return entries.map(({ name, value, ttlId }) => ({ name, value, isForEver: ttlId === NO_TTL }));
    },
    async listLeases() {
      const leases: StoredLease[] = [];
      for (const entry of (await registry.listLeases()).entries) leases.push(await withTimeLeft(entry));
      return leases;
    },
    reserve: (config, subnet, publicIp) => reserveSubnet({ registry, config, flags: flags ?? [] }, subnet, publicIp),
    release: (subnet, heard, ttlSeconds) => releaseReservation(registry, subnet, heard, ttlSeconds),
    giveBack: (subnet, nodeId) => releaseLease(registry, subnet, nodeId),
    close: registry.close,
  };
}
