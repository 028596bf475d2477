import { expect, it } from 'vitest';
import { describeWith } from '../helpers/requires.js';
import { runChild } from './child.js';

describeWith(['root', 'vxlan'], 'a watch of the host', () => {
  it('tells of what others change in the tables of a VXLAN device, and not of what we do', { timeout: 60_000 }, () => {
    expect(runChild('own-changes.child.mjs')).toEqual({
      ours: {
        'entries and a route': false,
        'a route that goes': false,
        'an FDB entry that goes': false,
        'a neighbour that goes': false,
        'entries that go, come back and go before anybody looks': false,
        'what is not there and shall go': false,
      },
      others: {
        'a route that goes': true,
        'a route that comes': true,
        'an FDB entry that goes': true,
        'a neighbour that goes': true,
      },
      // The buffer was too small for all: nobody knows what was among it.
      lost: true,
      afterwards: true,
    });
  });
});
