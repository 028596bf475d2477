import { lookup } from 'node:dns/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { checkName, hostPortOf } from '../../../../src/control/etcd/probe.js';

vi.mock('node:dns/promises', () => ({ lookup: vi.fn() }));

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.mocked(lookup).mockReset();
});

it('a name that DNS says nothing about is given up after two seconds, and asked for once at a time', async () => {
  vi.mocked(lookup).mockReturnValue(new Promise(() => undefined) as never);
  const both = Promise.allSettled([checkName('slow.example'), checkName('slow.example')]);
  await vi.advanceTimersByTimeAsync(2000);
  for (const { reason } of (await both) as PromiseRejectedResult[]) {
    expect(reason).toMatchObject({ kind: 'name', message: 'DNS does not answer' });
  }
  await Promise.allSettled([checkName('slow.example'), vi.advanceTimersByTimeAsync(2000)]);
  expect(lookup).toHaveBeenCalledTimes(1);
});

it('a name that is not there is told by the reason, and asked for again later', async () => {
  vi.mocked(lookup).mockRejectedValue(Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' }));
  for (let i = 0; i < 2; i++) {
    await expect(checkName('no.example')).rejects.toMatchObject({ kind: 'name', message: 'ENOTFOUND' });
  }
  expect(lookup).toHaveBeenCalledTimes(2);
});

it('addresses need no name', async () => {
  await Promise.all([checkName('127.0.0.1'), checkName('fd00::1')]);
  expect(lookup).not.toHaveBeenCalled();
});

it.each([
  ['http://10.0.0.1:2379', { host: '10.0.0.1', port: 2379, isTls: false }],
  ['https://[fd00::1]:4001', { host: 'fd00::1', port: 4001, isTls: true }],
  ['https://etcd', { host: 'etcd', port: 443, isTls: true }],
])('%s', (endpoint, expected) => {
  expect(hostPortOf(endpoint)).toEqual(expected);
});
