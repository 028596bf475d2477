import { describe, expect, it } from 'vitest';
import { EMBEDDED } from '../../../src/control/embedded/embedded-membership.js';
import { sourceOf as etcdSource } from '../../../src/control/etcd/source.js';
import { sourceOf as kubernetesSource } from '../../../src/control/kubernetes/source.js';
import { storeOf } from '../../../src/control/open.js';

describe('of which store a source speaks', () => {
  const [A, B] = ['http://kubernetes:2379', 'https://[fd00::1]:2379'];
  it.each([
    [
      kubernetesSource('https://10.1.1.1:6443', 'x.y/'),
      { kind: 'kubernetes', endpoints: ['https://10.1.1.1:6443'], prefix: 'x.y/' },
    ],
    [etcdSource([A], '/coreos.com/network'), { kind: 'etcd', endpoints: [A], prefix: '/coreos.com/network' }],
    [etcdSource([A, B], '/a,http://x/b'), { kind: 'etcd', endpoints: [A, B], prefix: '/a,http://x/b' }],
    // Nothing that makes sense: the settings say the rest.
    ['nonsense', { kind: 'etcd' }],
    ['kubernetes https://10.1.1.1:6443', { kind: 'etcd' }],
    [EMBEDDED, { kind: 'embedded' }],
  ])('%s', (source, store) => {
    expect(storeOf(source)).toEqual(store);
  });
});
