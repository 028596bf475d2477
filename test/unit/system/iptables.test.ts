import { expect, it } from 'vitest';
import { unreadableIn } from '../../../src/system/iptables.js';

it('a table with rules of nft, which iptables cannot show, is not an empty one', () => {
  const saved = "*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n# Table `filter' is incompatible, use 'nft' tool.\n";
  expect(unreadableIn(saved)).toEqual(['filter']);
  expect(unreadableIn('# Table filter is incompatible\n*nat\nCOMMIT')).toEqual(['filter']);
  expect(unreadableIn('*filter\n# a comment\nCOMMIT\n')).toEqual([]);
});
