import { describe, expect, it } from 'vitest';
import { pageModule } from '../../helpers/page-module.js';

const { layoutOf } = await pageModule('layout.js');

interface Place {
  readonly x: number;
  readonly y: number;
  readonly label: { readonly x: number; readonly y: number };
  readonly side: 'start' | 'middle' | 'end';
}

const named = (count: number, letters: number) =>
  Array.from({ length: count }, (_, i) => String(i + 1).padStart(letters, 'node-'));

/** Where a name of the ring is written, and what stands below it: as wide and as high as it is drawn at the least. */
function boxOf({ x, y, label, side }: Place, name: string) {
  const width = name.length * 6.5;
  const left = x + label.x - (side === 'middle' ? width / 2 : side === 'end' ? width : 0);
  return { left, right: left + width, top: y + label.y - 9, bottom: y + label.y + 17 };
}

/** A telephone, a laptop beside the list of problems, a wall. */
const SIZES = [
  [350, 844, 10],
  [780, 800, 20],
  [1600, 1440, 40],
] as const;

describe.each(SIZES)('the map, %i px wide', (width, windowHeight, inRing) => {
  it.each([4, 8, 12, 22])('has in its ring no name of %i letters that covers another one', (letters) => {
    for (let count = 1; count <= 41; count++) {
      const { places, names, below } = layoutOf(named(count, letters), width, windowHeight);
      if (!below) continue;
      const boxes = (places as Place[]).map((place, i) => boxOf(place, names[i]));
      for (const [i, a] of boxes.entries()) {
        for (const b of boxes.slice(i + 1)) {
          const isApart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
          expect(isApart, `${count} nodes`).toBe(true);
        }
      }
    }
  });

  it('is a ring of so many nodes as there is room for, and a field of more', () => {
    expect(layoutOf(named(inRing, 8), width, windowHeight).below).toBe(true);
    expect(layoutOf(named(41, 8), width, windowHeight)).toMatchObject({ below: false });
  });

  it('keeps every node of it inside', () => {
    for (const count of [1, 2, 9, 25, 41, 500]) {
      const { places, height } = layoutOf(named(count, 12), width, windowHeight);
      expect(places).toHaveLength(count);
      for (const { x, y } of places as Place[]) {
        expect(x > 0 && x < width && y > 0 && y < height, `${count} nodes`).toBe(true);
      }
    }
  });
});
