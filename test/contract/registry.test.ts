import { afterAll, beforeAll, describe } from 'vitest';
import { startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { createMemoryRegistry } from '../helpers/memory-registry.js';
import { describeWith } from '../helpers/requires.js';
import { createEtcdSubject } from './etcd-subject.js';
import { keyContract, type Subject } from './registry-suite.js';
import { watchContract } from './watch-suite.js';

function createMemorySubject(): Subject {
  let now = 1_000_000;
  const registry = createMemoryRegistry(() => now);
  return {
    registry,
    put: async (key, value, ttlSeconds) => registry.putRaw(key, value, ttlSeconds),
    delete: async (key) => registry.deleteRaw(key),
    revoke: async (ttlId) => registry.revoke(ttlId),
    compact: async () => registry.compact(),
    async age(seconds) {
      now += seconds * 1000;
    },
    close: () => registry.close(),
  };
}

describe('the registry in memory', () => {
  keyContract(async () => createMemorySubject());
  watchContract(async () => createMemorySubject());
});

describeWith(['etcd'], 'the registry in etcd', () => {
  let etcd: TestEtcd;

  beforeAll(async () => {
    etcd = await startTestEtcd();
  });
  afterAll(() => etcd?.stop());

  keyContract(async () => createEtcdSubject(etcd));
  watchContract(async () => createEtcdSubject(etcd));
});
