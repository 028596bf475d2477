import { randomUUID } from 'node:crypto';
import { createEtcdRegistry } from '../../src/control/etcd/etcd-registry.js';
import type { EtcdOptions } from '../../src/control/etcd/options.js';
import type { TestEtcd } from '../helpers/etcd.js';
import type { Subject } from './registry-suite.js';

export interface EtcdSubject extends Subject {
  readonly prefix: string;
}

/** A registry under a prefix of its own, and etcdctl as the other client. */
export function createEtcdSubject(etcd: TestEtcd, options: Partial<EtcdOptions> = {}): EtcdSubject {
  const prefix = `/${randomUUID()}/network`;
  const registry = createEtcdRegistry({ endpoints: [etcd.url], prefix, ...options });
  const keyOf = (key: string) => (key === 'config' ? `${prefix}/config` : `${prefix}/subnets/${key}`);
  const hex = (ttlId: string) => BigInt(ttlId).toString(16);

  return {
    registry,
    prefix,
    async put(key, value, ttlSeconds) {
      const lease = ttlSeconds === undefined ? [] : [`--lease=${await grant(etcd, ttlSeconds)}`];
      await etcd.ctl('put', ...lease, keyOf(key), value);
    },
    async delete(key) {
      await etcd.ctl('del', keyOf(key));
    },
    async revoke(ttlId) {
      await etcd.ctl('lease', 'revoke', hex(ttlId));
    },
    async compact() {
      await etcd.ctl('compact', String((await registry.listLeases()).revision));
    },
    // etcd's clock is the real one: the test waits for what it does.
    age: async () => undefined,
    close: () => registry.close(),
  };
}

async function grant(etcd: TestEtcd, ttlSeconds: number): Promise<string> {
  const text = await etcd.ctl('lease', 'grant', String(ttlSeconds));
  return /lease (\w+) granted/.exec(text)![1];
}
