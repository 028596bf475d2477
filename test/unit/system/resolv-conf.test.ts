import { expect, it } from 'vitest';
import { listNameservers, nameserversIn } from '../../../src/system/resolv-conf.js';
import { ip } from '../../helpers/path.js';

it('reads the IPv4 name servers of a resolv.conf', () => {
  const text =
    '# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\nnameserver\t10.240.3.53 \nnameserver ::1\n';
  expect(nameserversIn(text)).toEqual([ip('192.0.2.1'), ip('10.240.3.53')]);
  expect(nameserversIn('')).toEqual([]);
});

it('asks for those behind the stub of systemd-resolved too, and for none where there is no file', async () => {
  const files: Record<string, string> = {
    '/etc/resolv.conf': 'nameserver 127.0.0.53\n',
    '/run/systemd/resolve/resolv.conf': 'nameserver 192.0.2.1\nnameserver 127.0.0.53\n',
  };
  const read = async (path: string) => files[path] ?? Promise.reject(new Error('ENOENT'));
  expect(await listNameservers(read)).toEqual([ip('127.0.0.53'), ip('192.0.2.1')]);
  delete files['/run/systemd/resolve/resolv.conf'];
  expect(await listNameservers(read)).toEqual([ip('127.0.0.53')]);
});
