import { describe, expect, it } from 'vitest';
import { healthOf, type PeerFacts, type PeerProbe } from '../../../src/health/peer-health.js';
import { udp } from '../../helpers/leases.js';

const NOW = 100_000;
const probe = (changes: Partial<PeerProbe> = {}): PeerProbe => ({
  address: 1,
  sentAt: NOW - 1000,
  sequence: 1,
  misses: 0,
  answeredAt: NOW - 999,
  rttMs: 0.5,
  sendError: undefined,
  ...changes,
});
const SILENT = { misses: 3, answeredAt: NOW - 20_000 };
const RESERVED = { reserved: true, backend: { type: '', data: {} } };

const facts = (changes: Partial<PeerFacts> = {}): PeerFacts => ({
  lease: { backend: udp() },
  problem: undefined,
  probe: probe(),
  heardAt: undefined,
  daemonHeardAt: undefined,
  isSureToAnswer: true,
  roundMs: 2000,
  peersRoundMs: 2000,
  ...changes,
});

describe('a peer', () => {
  it.each<[string, Partial<PeerFacts>, object]>([
    ['that answers is ok', {}, { state: 'ok', reason: null, rttMs: 0.5, lastHeardSeconds: 0.999 }],
    [
      'that was heard otherwise is ok, if it never answered anything',
      { probe: probe({ ...SILENT, answeredAt: undefined }), heardAt: NOW - 500 },
      { state: 'ok', lastHeardSeconds: 0.5 },
    ],
    [
      'that is heard and answers no more does not get what is sent to it',
      { probe: probe(SILENT), heardAt: NOW - 500 },
      { state: 'unreachable', reason: expect.stringMatching(/does not arrive/), lastHeardSeconds: 0.5 },
    ],
    [
      'that is heard and answers no more may have lost its bridge, where that is what answers',
      { probe: probe(SILENT), heardAt: NOW - 500, isSureToAnswer: false },
      { state: 'ok', reason: expect.stringMatching(/bridge of containers/), lastHeardSeconds: 0.5 },
    ],
    [
      'that has missed two probes is still ok',
      { probe: probe({ ...SILENT, misses: 2, answeredAt: NOW - 5000 }) },
      { state: 'ok' },
    ],
    [
      'that has missed three is silent, and has no time of flight',
      { probe: probe(SILENT) },
      { state: 'silent', reason: null, rttMs: null, lastHeardSeconds: 20 },
    ],
    [
      'that has missed two, and never answered, is not known',
      { probe: probe({ ...SILENT, misses: 2, answeredAt: undefined }) },
      { state: 'unknown' },
    ],
    [
      'that was never asked is not known',
      { probe: probe({ sentAt: undefined, answeredAt: undefined, rttMs: undefined }) },
      { state: 'unknown', lastHeardSeconds: null, rttMs: null },
    ],
    [
      'whose kernel answers, and whose daemon is gone, is told as that',
      { daemonHeardAt: NOW - 9000 },
      { state: 'ok', reason: expect.stringMatching(/daemon sends no probes/) },
    ],
    [
      'whose daemon has more to ask, in turn, is ok',
      { daemonHeardAt: NOW - 19_000, peersRoundMs: 6000 },
      { state: 'ok', reason: null },
    ],
    ['whose daemon sends probes is ok', { daemonHeardAt: NOW - 7000 }, { state: 'ok', reason: null }],
    ['that is not probed is known by what is heard', { probe: undefined, heardAt: NOW - 7000 }, { state: 'ok' }],
    [
      'that is not probed and was not heard lately is not known',
      { probe: undefined, heardAt: NOW - 60_000 },
      { state: 'unknown' },
    ],
    [
      'that nothing is sent to is unreachable',
      { problem: 'behind a router' },
      { state: 'unreachable', reason: 'behind a router' },
    ],
    [
      'to which there is no route is unreachable',
      { probe: probe({ sendError: 'ENETUNREACH' }) },
      { state: 'unreachable', reason: 'ENETUNREACH' },
    ],
    [
      'that nobody has to answer for is not known, though it is silent',
      { isSureToAnswer: false, probe: probe({ ...SILENT, answeredAt: undefined }) },
      { state: 'unknown' },
    ],
    [
      'that answered once is silent when it stops',
      { isSureToAnswer: false, probe: probe(SILENT) },
      { state: 'silent' },
    ],
    [
      'that is to come is reserved',
      { lease: RESERVED, probe: probe({ ...SILENT, answeredAt: undefined }) },
      { state: 'reserved' },
    ],
    ['that has come where a subnet was reserved is ok', { lease: RESERVED }, { state: 'ok' }],
    [
      'among so many that its turn is rare has more time',
      { roundMs: 200_000, probe: probe({ answeredAt: NOW - 90_000, sentAt: NOW - 90_001 }) },
      { state: 'ok' },
    ],
  ])('%s', (_, changes, expected) => {
    expect(healthOf(facts(changes), NOW)).toMatchObject(expected);
  });
});
