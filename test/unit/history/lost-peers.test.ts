import { expect, it } from 'vitest';
import { createLostPeers, LOST_SECONDS, MOST_LOST } from '../../../src/history/lost-peers.js';

const peer = (host: string | null, subnet: string) => ({ host, subnet, version: '1', nextHop: '10.1.1.1' });
const [A, B] = [peer('a', '10.240.1.0/24'), peer('b', '10.240.2.0/24')];

it('a peer that left is remembered for an hour, the latest first', () => {
  const lost = createLostPeers();
  lost.note([A, B], 0);
  lost.note([B], 100);
  lost.note([], 200);
  expect(lost.list(300)).toEqual([
    { ...B, seconds: 100 },
    { ...A, seconds: 200 },
  ]);
  expect(lost.list(LOST_SECONDS + 150)).toEqual([{ ...B, seconds: LOST_SECONDS - 50 }]);
});

it('who comes back is not lost: by its name with another subnet, or another node in its subnet', () => {
  const lost = createLostPeers();
  lost.note([A, B, peer(null, '10.240.3.0/24')], 0);
  lost.note([], 1);
  lost.note([peer('a', '10.240.9.0/24'), peer('c', '10.240.2.0/24')], 2);
  expect(lost.list(2).map(({ subnet }) => subnet)).toEqual(['10.240.3.0/24']);
});

it('of very many the latest are remembered', () => {
  const lost = createLostPeers();
  lost.note(
    Array.from({ length: MOST_LOST + 50 }, (_, i) => peer(`n${i}`, `10.0.${i}.0/24`)),
    0,
  );
  lost.note([], 1);
  expect(lost.list(1)).toHaveLength(MOST_LOST);
});
