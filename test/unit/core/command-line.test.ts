import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { rudderCommand } from '../../../src/core/command-line.js';

it('names a command with the flags that it needs', () => {
  expect(rudderCommand(['init', '{"Network":"10.240.0.0/16"}'], { flags: ['--etcd-prefix', '/x'] })).toBe(
    `rudder init '{"Network":"10.240.0.0/16"}' --etcd-prefix /x`,
  );
  expect(rudderCommand(['leases'], {})).toBe('rudder leases');
});

it('can be pasted into a shell, whatever the words', () => {
  const words = ['a b', "it's", '$HOME', '', '*', 'x;y', '"', '\\', 'ü'];
  const command = rudderCommand(words, {});
  const script = `rudder() { printf '%s\\0' "$@"; }; ${command}`;
  expect(execFileSync('sh', ['-c', script]).toString().split('\0').slice(0, -1)).toEqual(words);
});
