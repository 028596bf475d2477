import { expect, it } from 'vitest';
import { counted } from '../../../src/core/counted.js';

it.each([
  [0, '0 peers'],
  [1, '1 peer'],
  [2, '2 peers'],
])('%i', (count, text) => {
  expect(counted(count, 'peer')).toBe(text);
});

it('knows words with another plural', () => {
  expect([1, 3].map((count) => counted(count, 'entry', 'entries'))).toEqual(['1 entry', '3 entries']);
});
