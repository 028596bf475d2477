import { expect, it } from 'vitest';
import { closest, didYouMean } from '../../../src/core/closest.js';

const KEYS = ['Network', 'SubnetLen', 'SubnetMin', 'SubnetMax', 'Backend'];

it.each([
  ['Netwrok', 'Network'],
  ['network', 'Network'],
  ['subnetlength', 'SubnetLen'],
  ['Subnet_Len', 'SubnetLen'],
  ['SubnetMinn', 'SubnetMin'],
  ['Backends', 'Backend'],
])('by %s is meant %s', (word, meant) => {
  expect(closest(word, KEYS)).toBe(meant);
});

it.each(['', 'MTU', 'VNI', 'x'.repeat(100_000)])('by %j nothing of these is meant', (word) => {
  expect(closest(word, KEYS)).toBeUndefined();
  expect(didYouMean(word, KEYS)).toBe('');
});

it('asks', () => {
  expect(didYouMean('Netwrok', KEYS)).toBe(', did you mean Network?');
});
