import { describe, expect, it } from 'vitest';
import { elsewhere, type SharedStore } from '../../../src/cli/remembered-store.js';

const [A, B, C] = ['http://10.1.1.1:2379', 'http://10.1.1.2:2379', 'http://10.1.1.3:2379'];
const etcd: SharedStore = { kind: 'etcd', endpoints: [A, B], prefix: '/coreos.com/network' };
const kubernetes: SharedStore = { kind: 'kubernetes', endpoints: ['https://10.1.1.1:6443'], prefix: 'x.y/' };

describe('where a node has last run with something else than what is asked', () => {
  it.each<[string, SharedStore, string[]]>([
    ['the same', etcd, [A, B]],
    ['another member of the same etcd', etcd, [C, B]],
    ['the same API server', kubernetes, ['https://10.1.1.1:6443']],
    ['nobody knows', { kind: 'etcd' }, [A]],
  ])('is not told: %s', (_, store, asked) => {
    expect(elsewhere(store, asked)).toBeUndefined();
  });

  it('is told with what stays there, and how it is asked', () => {
    expect(elsewhere(etcd, [C])).toBe(
      `this node last ran with ${A},${B}: if that is another one, a lease stays there until its TTL ends, a reservation for ever; give --etcd-endpoints ${A},${B}`,
    );
    expect(elsewhere(kubernetes, ['https://10.9.9.9:6443'])).toBe(
      'this node last ran with https://10.1.1.1:6443: if that is another one, it stays there, and peers go on routing to this host; give --kubeconfig-file of that one',
    );
  });

  it('is one line, whatever was remembered', () => {
    const told = elsewhere({ ...etcd, endpoints: [`http://a\n\u001b[2J${'x'.repeat(5000)}`] }, [C])!;
    expect(told).toMatch(/^\P{Cc}+$/u);
    expect(told.length).toBeLessThan(1000);
  });
});
