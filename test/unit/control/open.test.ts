import { describe, expect, it } from 'vitest';
import { EMBEDDED } from '../../../src/control/embedded/embedded-membership.js';
import { sourceOf } from '../../../src/control/kubernetes/source.js';
import { storeOf } from '../../../src/control/open.js';

describe('of which store a source speaks', () => {
  it.each([
    [sourceOf('https://10.1.1.1:6443', 'x.y/'), { kind: 'kubernetes', annotationPrefix: 'x.y/' }],
    ['http://127.0.0.1:2379/coreos.com/network', { kind: 'etcd' }],
    ['http://kubernetes:2379,http://b:2379/coreos.com/network', { kind: 'etcd' }],
    [EMBEDDED, { kind: 'embedded' }],
  ])('%s', (source, store) => {
    expect(storeOf(source)).toEqual(store);
  });
});
